"""Tasks on the device of the learner that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from metacortex.task import Task

if TYPE_CHECKING:
    from metacortex.tasks.source import TaskSource

__all__ = ["Placed", "place"]


class Placed:
    """The tasks of a source, copied to a device as they are drawn.

    Args:
        source: of the tasks.
        device: where they go.
    """

    def __init__(self, source: TaskSource, device: torch.device) -> None:
        self.source, self.device = source, device

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # not there yet while a copy is being made
            raise AttributeError(name)
        return getattr(self.source, name)

    @property
    def protocol(self) -> str:
        """That of the source."""
        return self.source.protocol

    def task(self, index: int) -> Task:
        """Task ``index``."""
        return self.source.task(index).to(self.device)

    def batch(self, indices: Sequence[int]) -> Task:
        """Several tasks with a leading task axis."""
        return self.source.batch(indices).to(self.device)

    def fingerprint(self, count: int = 1000) -> str:
        """That of the source: where tasks lie changes nothing of them."""
        return self.source.fingerprint(count)


def place(source: Any, device: torch.device) -> Any:
    """A source of the same tasks whose tensors are on a device.

    Args:
        source: any task source; one that has a method ``to`` is asked to move itself, with all that its tasks are
            made of.
        device: where to; the source itself is returned for the CPU.
    """
    if device.type == "cpu":
        return source
    move = getattr(source, "to", None)
    return Placed(source, device) if move is None else move(device)
