"""Measures without learning, which the others have to beat: pixels, and the number of classes."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from metacortex.errors import unknown_name
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.examples import way_of
from metacortex.task import Examples

__all__ = ["ClassCountDistance", "PixelDistance"]


class PixelDistance(TaskDistance):
    """Raw pixels (or raw columns of tables), labels unseen.

    ``"nearest"``: d(A, B) = mean over b in B of min over a in A of ‖a − b‖, how far each example of the new task is
    from the nearest known one.  ``"mean"``: d(A, B) = ‖mean of A − mean of B‖.

    Args:
        kind: ``"nearest"`` or ``"mean"``.

    Example:
        >>> a, b = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 3.0]])
        >>> PixelDistance().distance(a, b)
        2.0
    """

    name: ClassVar[str] = "pixels"

    def __init__(self, kind: str = "nearest") -> None:
        if kind not in ("nearest", "mean"):
            raise unknown_name("pixel distance", kind, ("nearest", "mean"))
        self.kind = kind

    def embed(self, task: Examples) -> Tensor:
        """``[N, pixels]``, or their mean ``[1, pixels]``."""
        rows = task.inputs.flatten(1)
        return rows.mean(0, keepdim=True) if self.kind == "mean" else rows

    def distance(self, known: Tensor, new: Tensor) -> float:
        """In units of brightness."""
        return float(torch.cdist(new, known).amin(1).mean())


class ClassCountDistance(TaskDistance):
    """d(A, B) = −log(number of classes of A): whichever known task has most classes comes first.

    More classes make a better training set, whatever the new task is: the ranking is the same for all new tasks.
    """

    name: ClassVar[str] = "classes"

    def embed(self, task: Examples) -> int:
        """Number of classes."""
        return way_of(task)

    def distance(self, known: int, new: int) -> float:
        """At most 0."""
        return -math.log(known)
