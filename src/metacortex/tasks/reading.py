"""Reading examples of a view: an index gather, turned by class and scaled, with no work per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.errors import DataError, SettingsError

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["ExampleReader"]


class ExampleReader:
    """Reads any examples of a view as one tensor.

    All work is done by numpy in the calling thread: copying a batch takes about a millisecond, and
    waking PyTorch's thread pool for it costs more than it saves wherever cores are shared.

    Args:
        view: the classes to read from.
        dtype: of the tensors. Of a ``uint8`` store: a floating type (scaled to 0..1) or
            ``torch.uint8`` (as stored). Of a ``float32`` store: a floating type (never scaled).

    Raises:
        SettingsError: for another dtype.
        DataError: for quarter turns of examples that are not square images.
    """

    def __init__(self, view: ClassView, dtype: torch.dtype = torch.float32) -> None:
        store = view.store
        _check_dtype(store.examples.dtype, dtype)
        _check_rotation(store.shape, view.rotation, store.name)
        # A plain array over the same memory map: np.memmap's own indexing wraps every result in Python.
        self._examples = np.asarray(store.examples).view(np.ndarray)
        self._starts = np.asarray(store.offsets, dtype=np.int64)[view.index]  # [classes]
        self._turns = np.asarray(view.rotation, dtype=np.int64) % 4  # [classes]
        self._turned = bool(self._turns.any())
        self._dtype = dtype
        self.shape: tuple[int, ...] = tuple(store.shape)

    def read(self, classes: NDArray[np.int64], members: NDArray[np.int64]) -> Tensor:
        """Read examples.

        Args:
            classes: ``[N]`` numbers of classes of the view.
            members: ``[N]`` which example of its class.

        Returns:
            ``[N, *shape]`` tensor of the reader's dtype.
        """
        rows = np.take(self._examples, self._starts[classes] + members, axis=0)  # [N, *shape]
        if self._turned:
            turns = self._turns[classes]
            for quarter in (1, 2, 3):
                here = np.flatnonzero(turns == quarter)
                rows[here] = np.rot90(rows[here], quarter, axes=(2, 3))
        return self._to_tensor(rows)

    def _to_tensor(self, rows: np.ndarray) -> Tensor:
        if rows.dtype == np.uint8 and self._dtype != torch.uint8:
            exact = np.float64 if self._dtype == torch.float64 else np.float32
            rows = np.divide(rows, exact(255), dtype=exact)
        return torch.from_numpy(rows).to(self._dtype)


def _check_dtype(stored: np.dtype, dtype: torch.dtype) -> None:
    if not isinstance(dtype, torch.dtype) or not (dtype.is_floating_point or dtype == torch.uint8):
        raise SettingsError(f"dtype: expected a floating type or torch.uint8, got {dtype}")
    if dtype == torch.uint8 and stored != np.uint8:
        raise SettingsError(
            f"dtype: torch.uint8 needs a store of uint8 examples, this one has {stored}: use torch.float32"
        )


def _check_rotation(shape: tuple[int, ...], rotation: np.ndarray, name: str) -> None:
    if np.any(rotation) and (len(shape) != 3 or shape[1] != shape[2]):
        raise DataError(
            f"data '{name}': classes can only be rotated when examples are square images [C, H, H], "
            f"these have shape {list(shape)}: load it with rotations=()"
        )
