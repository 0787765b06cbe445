"""Tasks of images with every image changed at random: what the ways of changing share."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.errors import SettingsError
from metacortex.task import Task, unstack_tasks
from metacortex.tasks.placed import place
from metacortex.tasks.random import fold, root_key

__all__ = ["Bendable", "ChangedImages"]


class Bendable(Protocol):
    """Tasks of images, drawn with a seed, whose images can be changed."""

    seed: int
    split: str

    @property
    def protocol(self) -> str:
        """What is drawn."""
        ...

    def batch(self, indices: Sequence[int]) -> Task:
        """Several tasks at once."""
        ...

    def fingerprint(self, count: int = 1000) -> str:
        """Sum over the tasks ``0 .. count-1``."""
        ...


class ChangedImages(ABC):
    """The tasks of a source with their images changed; task ``i`` stays a pure function of ``(seed, split, i)``.

    Args:
        source: tasks of images ``[N, C, H, W']``, floats, 0 being the ground.
        amount: how much; 0 leaves the images as they are.

    Raises:
        SettingsError: for an amount below 0.
    """

    setting: ClassVar[str]
    """The setting that holds the amount; it also names the random numbers."""
    done: ClassVar[str]
    """What was done to the images, for the protocol."""
    mark: ClassVar[str]
    """Tells the fingerprint from that of other changes."""

    def __init__(self, source: Bendable, amount: float) -> None:
        if not 0 <= amount < math.inf:
            raise SettingsError(f"{self.setting}: expected a number, at least 0, got {amount}")
        self.source, self.amount = source, amount
        self.seed, self.split = source.seed, source.split
        self._key = root_key(source.seed, f"{self.setting}/{source.split}")

    def to(self, device: torch.device) -> Self:
        """The same tasks on a device, changed there, where the source can give them there."""
        return type(self)(place(self.source, device), self.amount)

    @property
    def protocol(self) -> str:
        """That of the source, and the amount."""
        return f"{self.source.protocol}, {self.done} by {self.amount:g}"

    def task(self, index: int) -> Task:
        """Draw one task, see `metacortex.tasks.episodes.Episodes.task`."""
        return unstack_tasks(self.batch([index]))[0]

    def batch(self, indices: Sequence[int]) -> Task:
        """Several tasks at once, bit for bit those of `task`."""
        keys = fold(self._key, np.asarray(list(indices), dtype=np.int64))  # [T]
        return self.changed(self.source.batch(indices), keys)

    @abstractmethod
    def changed(self, tasks: Task, keys: NDArray[np.uint64]) -> Task:
        """T stacked tasks with other images, by the random keys ``[T]`` of the tasks."""

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over the tasks of the source and the amount."""
        return hashlib.sha256(f"{self.source.fingerprint(count)} {self.mark}{self.amount!r}".encode()).hexdigest()
