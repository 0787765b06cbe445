"""What anything that gives tasks looks like to training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from metacortex.task import Task

__all__ = ["TaskSource"]


@runtime_checkable
class TaskSource(Protocol):
    """An endless, numbered sequence of tasks; task ``index`` is always the same one."""

    @property
    def protocol(self) -> str:
        """What is drawn, to be printed beside every figure measured on it."""
        ...

    def task(self, index: int) -> Task:
        """Task ``index``, without a task axis and without padding."""
        ...

    def batch(self, indices: Sequence[int]) -> Task:
        """The same as ``stack_tasks([task(i) for i in indices])``, drawn at once."""
        ...

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over what the tasks ``0 .. count-1`` consist of."""
        ...
