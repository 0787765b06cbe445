"""What was computed once is not computed again: features of images, what was learned of a board."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np

from metacortex.estimators.features import NetFeatures

__all__ = ["Memo", "RememberedFeatures"]

T = TypeVar("T")


class Memo(Generic[T]):
    """The values used last, up to a number of them; threads may share it.

    Example:
        >>> memo = Memo(2)
        >>> for key in "abc":
        ...     memo.put(key, key.upper())
        >>> memo.get("a"), memo.get("c")
        (None, 'C')
    """

    def __init__(self, most: int) -> None:
        self._most, self._values, self._lock = most, OrderedDict[Hashable, T](), Lock()

    def get(self, key: Hashable) -> T | None:
        """The value, or ``None``."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: T) -> None:
        """Keep a value; the one used least recently goes where there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class RememberedFeatures(NetFeatures):
    """`NetFeatures` that passes each image through the network once.

    Attributes:
        memo: image as bytes -> its three parts.
    """

    memo: Memo[Rows] = field(default_factory=lambda: Memo(1))

    def _raw(self, inputs: np.ndarray) -> Rows:
        keys = [(inputs.shape[1:], image.tobytes()) for image in inputs]
        found: list[Any] = [self.memo.get(key) for key in keys]
        missing = [row for row, known in enumerate(found) if known is None]
        if missing:
            parts = super()._raw(inputs[missing])
            for place, row in enumerate(missing):
                found[row] = tuple(part[place] for part in parts)
                self.memo.put(keys[row], found[row])
        return tuple(np.stack([rows[part] for rows in found]) for part in range(3))  # type: ignore[return-value]
