"""Labels of classes as numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from metacortex.errors import DataError
from torchmeta.transforms.target_transforms import TargetTransform

__all__ = ["Categorical", "FixedCategory"]


class Categorical(TargetTransform):
    """Numbers for labels, in the order in which the labels are met.

    Args:
        num_classes: how many there can be: numbers are then a random order of ``0 .. num_classes-1``, drawn by
            ``torch.randperm`` at the first use. When not given they are 0, 1, 2 …

    Example:
        >>> labels = Categorical()
        >>> [labels("b"), labels("a"), labels("b")]
        [0, 1, 0]
    """

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Forget the labels and their order.

        Args:
            seed: of the order to come; the global state of torch when not given.
        """
        self.classes: dict[Hashable, int] = {}
        self.labels: list[int] | None = None
        self._seed = seed

    def __call__(self, target: Any) -> int:
        """The number of a label.

        Raises:
            DataError: (a ValueError) for more labels than classes.
        """
        if target in self.classes:
            return self.classes[target]
        number = len(self.classes) if self.num_classes is None else self._draw(target)
        self.classes[target] = number
        return number

    def _draw(self, target: Any) -> int:
        if self.labels is None:
            generator = None if self._seed is None else torch.Generator().manual_seed(self._seed)
            self.labels = torch.randperm(self.num_classes or 0, generator=generator).tolist()
        if len(self.classes) >= len(self.labels):
            raise DataError(
                f"Categorical(num_classes={self.num_classes}) met one more label: {target!r}; it is as many as the "
                "classes of a task"
            )
        return self.labels[len(self.classes)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes or ''})"


class FixedCategory:
    """A label with what was done to its examples: ``label -> (label, transform)``."""

    def __init__(self, transform: Callable[[Any], Any] | None = None) -> None:
        self.transform = transform

    def __call__(self, index: Any) -> tuple[Any, Any]:
        """The pair."""
        return index, self.transform

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transform})"
