"""Tasks that are given, not drawn: each group of classes is one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metacortex.errors import DataError
from metacortex.task import Examples, Task, stack_tasks
from metacortex.tasks.pools import EpisodeSpec
from metacortex.tasks.reading import ExampleReader

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["GroupTasks"]


class GroupTasks:
    """One task for each group of a view: its classes in their order, support and query as the store has them.

    Args:
        view: classes with groups; all groups of the same number of classes, all classes of the same number of examples.
        shot: the first so many examples of each class are the support, the others the query.

    Attributes:
        count: number of tasks.
        spec: their size.

    Raises:
        DataError: for a view without groups, groups of different sizes, or classes that leave no query.
    """

    def __init__(self, view: ClassView, shot: int = 1) -> None:
        if view.group is None or not len(view):
            raise DataError(f"the classes of '{view.store.name}' have no groups: these are no given tasks")
        self.view = view
        self.groups = [np.flatnonzero(view.group == group) for group in np.unique(view.group)]
        ways, counts = {len(group) for group in self.groups}, set(view.counts().tolist())
        if len(ways) != 1 or len(counts) != 1 or min(counts) <= shot:
            raise DataError(
                f"the groups of '{view.store.name}' have {sorted(ways)} classes of {sorted(counts)} examples: "
                f"tasks need one number of classes, and one of examples above {shot}"
            )
        self.count = len(self.groups)
        self.spec = EpisodeSpec(ways.pop(), shot, counts.pop() - shot)
        self._reader = ExampleReader(view)

    @property
    def protocol(self) -> str:
        """What the tasks are."""
        return f"the {self.count} given tasks, {self.spec}"

    def task(self, index: int) -> Task:
        """One of them.

        Raises:
            DataError: for a number below 0 or not below `count`.
        """
        if not 0 <= index < self.count:
            raise DataError(f"'{self.view.store.name}' has the tasks 0 to {self.count - 1}, got {index}")
        classes, (shot, queries) = self.groups[index], (self.spec.shot, self.spec.queries)
        assert isinstance(shot, int)
        assert isinstance(queries, int)
        names = self.view.names
        info = {"index": index, "classes": [names[c] for c in classes]}
        return Task(self._examples(classes, 0, shot), self._examples(classes, shot, queries), info=info)

    def batch(self, indices: Sequence[int]) -> Task:
        """Several of them, with a leading task axis."""
        return stack_tasks([self.task(i) for i in indices])

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over classes and sizes of the first ``count`` tasks."""
        text: list[Any] = [self.protocol, *(self.view.index[group].tolist() for group in self.groups[:count])]
        return hashlib.sha256(repr(text).encode()).hexdigest()

    def _examples(self, classes: np.ndarray, first: int, number: int) -> Examples:
        """The rows ``first .. first+number`` of each class, in class-major order."""
        members = np.tile(np.arange(first, first + number), len(classes))
        inputs = self._reader.read(np.repeat(classes, number), members)
        targets = torch.arange(len(classes)).repeat_interleave(number)
        return Examples(inputs, targets, None, torch.ones(len(classes), dtype=torch.bool))
