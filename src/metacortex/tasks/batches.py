"""Labelled batches for ordinary supervised training, as numbered tasks."""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.errors import DataError, SettingsError
from metacortex.task import Examples, Task, stack_tasks
from metacortex.tasks.random import fold, permutation, root_key
from metacortex.tasks.reading import ExampleReader

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["SupervisedBatches"]

Integers = NDArray[np.int64]


class SupervisedBatches:
    """Batches of all examples of a view, labelled with the number of their class.

    Used to pre-train the networks that are later fine-tuned. The examples are shown epoch after
    epoch, each exactly once per epoch in that epoch's random order; batch ``i`` takes places
    ``i * batch_size .. (i + 1) * batch_size - 1`` of this endless sequence, so it may end one epoch
    and begin the next. Batch ``i`` is a pure function of ``(seed, split, i)`` and of the view.

    Args:
        view: the classes; class ``c`` of the view has target ``c``.
        batch_size: examples per batch.
        seed: any integer.
        split: name of the split.
        dtype: of the inputs, see `metacortex.tasks.reading.ExampleReader`.

    Raises:
        DataError: if the view has no examples.
        SettingsError: for a batch size below one, or a dtype that the store cannot give.
    """

    def __init__(
        self, view: ClassView, batch_size: int, seed: int, split: str, *, dtype: torch.dtype = torch.float32
    ) -> None:
        if operator.index(batch_size) < 1:
            raise SettingsError(f"batch_size: expected a positive int, got {batch_size}")
        counts = np.asarray(view.counts(), dtype=np.int64)
        if not counts.sum():
            raise DataError(f"split '{split}' of '{view.store.name}' has no examples: no batch can be drawn from it")
        self.view = view
        self.batch_size = operator.index(batch_size)
        self.seed = operator.index(seed)
        self.split = split
        self._classes = np.repeat(np.arange(len(counts)), counts)  # [N] class of each example of the view
        starts = np.cumsum(counts) - counts
        self._members = np.arange(len(self._classes)) - starts[self._classes]  # [N]
        self._reader = ExampleReader(view, dtype)
        self._key = root_key(self.seed, f"batches/{split}")
        self._orders: dict[int, Integers] = {}  # of the epochs used last
        self._device = torch.device("cpu")

    def to(self, device: torch.device) -> SupervisedBatches:
        """The same batches on a device, see `metacortex.tasks.reading.ExampleReader.to`."""
        moved = copy.copy(self)
        moved._reader, moved._device = self._reader.to(device), device
        return moved

    @property
    def protocol(self) -> str:
        """What is drawn, e.g. ``"batches of 64 from 4112 classes, split train"``."""
        return f"batches of {self.batch_size} from {len(self.view)} classes, split {self.split}"

    def task(self, index: int) -> Task:
        """Draw one batch as a task without support.

        Args:
            index: which, from 0.

        Returns:
            A `Task`: support of 0 rows, query inputs ``[batch_size, *shape]`` with targets
            ``[batch_size]`` in ``0 .. classes-1``; every class slot is real; ``info`` is ``{"index"}``.

        Raises:
            DataError: for a negative index.
        """
        examples = self._examples(index)
        classes = self._classes[examples]
        inputs = self._reader.read(classes, self._members[examples])
        slots = torch.ones(len(self.view), dtype=torch.bool)
        nothing = Examples(inputs[:0].clone(), torch.zeros(0, dtype=torch.int64), None, slots)
        query = Examples(inputs, torch.from_numpy(classes), None, slots.clone())
        return Task(nothing, query, info={"index": operator.index(index)}).to(self._device)

    def batch(self, indices: Sequence[int]) -> Task:
        """Several batches with a leading task axis: ``stack_tasks([self.task(i) for i in indices])``.

        Raises:
            DataError: for no index at all, or a negative one.
        """
        return stack_tasks([self.task(i) for i in indices])

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over the batches ``0 .. count-1``: classes, rotations and members of their examples."""
        digest = hashlib.sha256()
        index, turns = np.asarray(self.view.index), np.asarray(self.view.rotation)
        for i in range(count):
            examples = self._examples(i)
            classes = self._classes[examples]
            for part in (index[classes], turns[classes], self._members[examples]):
                digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
        return digest.hexdigest()

    def _examples(self, index: int) -> Integers:
        """``[batch_size]``: which examples of the view batch ``index`` shows."""
        if operator.index(index) < 0:
            raise DataError(f"batch indices count from 0, got {index}")
        total = len(self._classes)
        places = np.arange(self.batch_size, dtype=np.int64) + operator.index(index) * self.batch_size
        epochs = places // total
        orders = [self._order(epoch)[places[epochs == epoch] % total] for epoch in range(epochs[0], epochs[-1] + 1)]
        return np.concatenate(orders)

    def _order(self, epoch: int) -> Integers:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.clear()
            self._orders[epoch] = permutation(fold(self._key, epoch), len(self._classes))
        return self._orders[epoch]
