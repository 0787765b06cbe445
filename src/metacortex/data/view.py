"""Views: which classes of a store a split holds, and under which rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metacortex.data.store import ClassStore
from metacortex.errors import DataError

__all__ = ["ClassView"]


@dataclass(frozen=True, eq=False)
class ClassView:
    """The classes of a split. A class of the store may come several times, rotated differently.

    Attributes:
        store: where the examples are.
        index: ``[C]`` int64: class of the store.
        rotation: ``[C]`` int64 in 0..3: quarter turns counter-clockwise (``np.rot90(image, k)`` over H and W)
            under which the examples are shown.
        group: ``[C]`` int64, e.g. the alphabet, for protocols that draw all classes of a task from one
            group; ``None`` when there are no groups.

    Raises:
        DataError: if the arrays do not fit each other or the store, or images to be rotated are not square.
    """

    store: ClassStore
    index: np.ndarray
    rotation: np.ndarray
    group: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"<ClassView of {self.store.name}: {len(self.index)} classes>"

    def __post_init__(self) -> None:
        for field in ("index", "rotation", "group"):
            values = getattr(self, field)
            if values is None:
                continue
            values = np.asarray(values, dtype=np.int64).copy()
            values.flags.writeable = False
            object.__setattr__(self, field, values)
            if values.shape != (len(self.index),):
                raise DataError(f"view of '{self.store.name}': {field} must be [{len(self.index)}], got {values.shape}")
        if len(self.index) and not (self.index.min() >= 0 and self.index.max() < len(self.store)):
            raise DataError(f"view of '{self.store.name}': classes must lie in 0..{len(self.store) - 1}")
        if len(self.index) and not (self.rotation.min() >= 0 and self.rotation.max() <= 3):
            raise DataError(f"view of '{self.store.name}': rotations must lie in 0..3")
        shape = self.store.shape
        if self.rotation.any() and (len(shape) != 3 or shape[1] != shape[2]):
            raise DataError(f"only square images can be rotated, '{self.store.name}' has examples of shape {shape}")

    @staticmethod
    def of(store: ClassStore, index: np.ndarray | list[int] | None = None, *, group_by: str | None = None) -> ClassView:
        """A view of unrotated classes.

        Args:
            store: where the examples are.
            index: classes of the store in the order wanted; all when not given.
            group_by: the key of the classes' meta-data that says their group, e.g. ``"alphabet"``.
        """
        chosen = np.arange(len(store)) if index is None else np.asarray(index, dtype=np.int64)
        group = None
        if group_by is not None:
            keys = sorted({c.meta.get(group_by, "") for c in store.classes})
            group = np.array([keys.index(store.classes[i].meta.get(group_by, "")) for i in chosen], dtype=np.int64)
        return ClassView(store, chosen, np.zeros(len(chosen), dtype=np.int64), group)

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.index)

    @property
    def names(self) -> list[str]:
        """Name of each class; rotated ones end in ``/rot090``, ``/rot180`` or ``/rot270``."""
        classes = self.store.classes
        return [
            f"{classes[i].name}/rot{90 * k:03d}" if k else classes[i].name
            for i, k in zip(self.index.tolist(), self.rotation.tolist(), strict=True)
        ]

    def counts(self) -> np.ndarray:
        """``[C]`` int64: number of examples of each class."""
        return self.store.counts()[self.index]

    def with_rotations(self) -> ClassView:
        """The same classes and, after each, its three rotations as classes of their own.

        A rotated group is a group of its own (a quarter-turned alphabet is another alphabet), so that
        tasks drawn within a group never mix orientations.

        Raises:
            DataError: if there are rotated classes already, or the images are not square.
        """
        if self.rotation.any():
            raise DataError(f"view of '{self.store.name}' holds rotated classes already")
        turns = np.tile(np.arange(4), len(self))  # [C*4]
        group = None
        if self.group is not None:
            group = np.repeat(self.group, 4) * 4 + turns
        return ClassView(self.store, np.repeat(self.index, 4), turns, group)
