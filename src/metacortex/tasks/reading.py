"""Reading examples of a view: an index gather, turned by class and scaled, with no work per image."""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.errors import SettingsError

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["TURNED_BYTES", "ExampleReader"]

TURNED_BYTES = 128 * 2**20
"""Largest view (its examples as stored) kept turned in memory; Omniglot's 4,112 rotated classes take 62 MiB."""
_SHARE_BYTES = 4 * 2**20
"""Smallest result for which another thread is woken."""
_PIECE_BYTES = 2**19
"""Result that is gathered and scaled at once: what lies between the two steps then stays in the processor's cache."""


class ExampleReader:
    """Reads any examples of a view as one tensor.

    A small batch is read by numpy in the calling thread: it takes about a millisecond, and waking others for
    it costs more than it saves. The images of a large one are dealt to as many threads as PyTorch has
    (`torch.set_num_threads`).

    Turning images takes as long as all the rest, so a view with rotated classes is turned once, at
    the first reading, and kept in memory; unless it is larger than `TURNED_BYTES`: then what is
    read is turned each time.

    Args:
        view: the classes to read from.
        dtype: of the tensors. Of a ``uint8`` store: a floating type (scaled to 0..1) or
            ``torch.uint8`` (as stored). Of a ``float32`` store: a floating type (never scaled).

    Raises:
        SettingsError: for another dtype.
    """

    def __init__(self, view: ClassView, dtype: torch.dtype = torch.float32) -> None:
        store = view.store
        self._view = view
        _check_dtype(store.examples.dtype, dtype)
        # A plain array over the same memory map: np.memmap's own indexing wraps every result in Python.
        self._examples = np.asarray(store.examples).view(np.ndarray)
        self._starts = np.asarray(store.offsets, dtype=np.int64)[view.index]  # [classes]
        self._counts = np.asarray(view.counts(), dtype=np.int64)  # [classes]
        self._turns = np.asarray(view.rotation, dtype=np.int64)  # [classes]
        self._to_turn = bool(self._turns.any())
        self._dtype = dtype
        self._to_scale = store.examples.dtype == np.uint8 and dtype != torch.uint8
        self.shape: tuple[int, ...] = tuple(store.shape)
        self._device = torch.device("cpu")
        self._there: Tensor | None = None  # [examples of the view, *shape], on the device

    def __reduce__(self) -> tuple[type[ExampleReader], tuple[ClassView, torch.dtype]]:
        # another process opens the store itself instead of receiving its content
        return ExampleReader, (self._view, self._dtype)

    def to(self, device: torch.device) -> ExampleReader:
        """A reader of the same examples onto a device: bit for bit the same.

        The examples of the view are put there as they are stored, unless they would fill more than a quarter of what
        is free: then what is read is.
        """
        moved = copy.copy(self)
        moved._device, moved._there = device, None
        size = int(self._counts.sum()) * self._examples[:1].nbytes
        if size <= _room(device) // 4:
            starts = np.cumsum(self._counts) - self._counts
            classes = np.repeat(np.arange(len(starts)), self._counts)
            rows = self._gather(classes, np.arange(len(classes)) - starts[classes])
            moved._there, moved._starts = torch.from_numpy(rows).to(device), starts
        return moved

    def read(self, classes: NDArray[np.int64], members: NDArray[np.int64]) -> Tensor:
        """Read examples.

        Args:
            classes: ``[N]`` numbers of classes of the view.
            members: ``[N]`` which example of its class.

        Returns:
            ``[N, *shape]`` tensor of the reader's dtype.
        """
        if self._there is not None:
            return self._read_there(self._there, torch.from_numpy(self._starts[classes] + members))
        read = self._read_here(classes, members)
        return read if self._device.type == "cpu" else read.to(self._device)

    def _read_there(self, examples: Tensor, rows: Tensor) -> Tensor:
        found = examples.index_select(0, rows.to(self._device))  # [N, *shape]
        if not self._to_scale:
            return found.to(self._dtype)
        exact = torch.float64 if self._dtype == torch.float64 else torch.float32
        # By a tensor: by a number a GPU multiplies with its rounded inverse.
        return found.to(exact).div_(torch.full((), 255, dtype=exact, device=self._device)).to(self._dtype)

    def _read_here(self, classes: NDArray[np.int64], members: NDArray[np.int64]) -> Tensor:
        if self._to_turn and self._counts.sum() * self._examples[:1].nbytes <= TURNED_BYTES:
            self._turn_all()
        if not self._to_scale:
            return torch.from_numpy(self._gather(classes, members)).to(self._dtype)
        exact = np.float64 if self._dtype == torch.float64 else np.float32
        scaled = np.empty((len(classes), *self.shape), exact)

        step = max(1, _PIECE_BYTES * len(scaled) // max(1, scaled.nbytes))

        def fill(part: slice) -> None:
            for first in range(part.start, part.stop, step):
                piece = slice(first, min(first + step, part.stop))
                np.divide(self._gather(classes[piece], members[piece]), exact(255), out=scaled[piece], dtype=exact)

        threads = max(1, min(torch.get_num_threads(), scaled.nbytes // _SHARE_BYTES))
        cuts = [len(classes) * k // threads for k in range(threads + 1)]
        parts = [slice(first, last) for first, last in pairwise(cuts)]
        others = [_pool(os.getpid()).submit(fill, part) for part in parts[1:]]
        fill(parts[0])
        for other in others:
            other.result()
        return torch.from_numpy(scaled).to(self._dtype)

    def _gather(self, classes: NDArray[np.int64], members: NDArray[np.int64]) -> np.ndarray:
        rows = np.take(self._examples, self._starts[classes] + members, axis=0)  # [N, *shape]
        if self._to_turn:
            turns = self._turns[classes]
            for quarter in (1, 2, 3):
                here = np.flatnonzero(turns == quarter)
                rows[here] = np.rot90(rows[here], quarter, axes=(2, 3))
        return rows

    def _turn_all(self) -> None:
        """Replace the store's examples by those of the view, class by class, as they are shown."""
        starts = np.cumsum(self._counts) - self._counts
        classes = np.repeat(np.arange(len(starts)), self._counts)
        self._examples = self._gather(classes, np.arange(len(classes)) - starts[classes])
        self._starts, self._to_turn = starts, False


def _room(device: torch.device) -> int:
    """Bytes that a device can still take; without limit where it does not tell."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**62


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; those of the process it was forked from are not here."""
    return ThreadPoolExecutor(thread_name_prefix=f"metacortex-read-{process}")


def _check_dtype(stored: np.dtype, dtype: torch.dtype) -> None:
    if not isinstance(dtype, torch.dtype) or not (dtype.is_floating_point or dtype == torch.uint8):
        raise SettingsError(f"dtype: expected a floating type or torch.uint8, got {dtype}")
    if dtype == torch.uint8 and stored != np.uint8:
        raise SettingsError(
            f"dtype: torch.uint8 needs a store of uint8 examples, this one has {stored}: use torch.float32"
        )
