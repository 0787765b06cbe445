"""The one protocol of the measures: a task becomes an embedding, two embeddings have a distance, known tasks a ranking.

    d(A, B) = distance(embed(A), embed(B))        A: a known task, B: the new one

A small d says that what was learned on A should serve B. A measure need not be symmetric: a large alphabet may serve
a small one better than the other way round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError
from metacortex.similarity.examples import way_of
from metacortex.task import Examples

__all__ = ["Ranked", "TaskDistance"]


@dataclass(frozen=True)
class Ranked:
    """A known task in a ranking.

    Attributes:
        name: of the task.
        distance: to the new task; only the order counts, units differ from measure to measure.
        way: number of its classes.
        examples: number of its examples.
    """

    name: str
    distance: float
    way: int
    examples: int


class TaskDistance(ABC):
    """A measure of how alike two labelled sets are.

    Subclasses write `embed` and `distance`; those that learn from the known tasks write `fit` as well.

    Example:
        >>> import torch
        >>> class InkDistance(TaskDistance):
        ...     name = "ink"
        ...     def embed(self, task): return float(task.inputs.mean())
        ...     def distance(self, known, new): return abs(known - new)
        >>> def task(level):
        ...     slots = torch.tensor([0, 1])
        ...     return Examples(torch.full((2, 3), level), slots, classes=torch.ones(2, dtype=torch.bool))
        >>> [r.name for r in InkDistance().rank(task(0.4), {"dark": task(0.0), "grey": task(0.5)})]
        ['grey', 'dark']
    """

    name: ClassVar[str] = "custom"
    """What the command line calls it."""

    @abstractmethod
    def embed(self, task: Examples) -> Any:
        """What is kept of a task: an array, or a tuple of arrays.

        Args:
            task: inputs ``[N, ...]`` in 0–1 for images, targets ``[N]``, the class mask.
        """

    @abstractmethod
    def distance(self, known: Any, new: Any) -> float:
        """From the embeddings of a known and a new task to a finite number."""

    def fit(self, known: Mapping[str, Examples]) -> TaskDistance:
        """Learn from the known tasks, where the measure does; returns itself."""
        return self

    def matrix(self, known: Mapping[str, Examples], new: Mapping[str, Examples]) -> NDArray[np.float64]:
        """``[known, new]`` distances, each task embedded once.

        Raises:
            DataError: if the inputs of two tasks have different shapes.
        """
        self._check(known, new)
        return self.between([self.embed(task) for task in known.values()], [self.embed(task) for task in new.values()])

    def between(self, known: Sequence[Any], new: Sequence[Any]) -> NDArray[np.float64]:
        """``[known, new]`` distances of embeddings."""
        found = [[self.distance(a, b) for b in new] for a in known]
        return np.array(found, dtype=np.float64).reshape(len(known), len(new))

    def rank(self, new: Examples, known: Mapping[str, Examples]) -> list[Ranked]:
        """The known tasks, the most alike first; equal distances in the order of the names.

        Args:
            new: the task that something is wanted for.
            known: tasks by name.

        Raises:
            DataError: if there is no known task, or shapes of inputs differ.
        """
        if not known:
            raise DataError("there is no known task to compare with: name at least one")
        found = self.matrix(known, {"the new task": new})[:, 0]
        ranked = [
            Ranked(name, float(d), way_of(task), len(task.targets))
            for (name, task), d in zip(known.items(), found, strict=True)
        ]
        return sorted(ranked, key=lambda r: (r.distance, r.name))

    @staticmethod
    def _check(known: Mapping[str, Examples], new: Mapping[str, Examples]) -> None:
        shapes = {name: tuple(task.inputs.shape[1:]) for name, task in [*new.items(), *known.items()]}
        first = next(iter(shapes.items()), ("", ()))
        for name, shape in shapes.items():
            if shape != first[1]:
                raise DataError(
                    f"tasks to be compared need inputs of one shape, got {first[1]} of {first[0]} and {shape} of "
                    f"{name}: bring them to the same size"
                )
        for name, task in [*new.items(), *known.items()]:
            if not len(task.targets):
                raise DataError(f"the task {name} has no examples")
