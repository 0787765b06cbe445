"""What a data source gives: a store and its splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, unknown_name

__all__ = ["SPLITS", "Dataset", "parse_rotations", "square"]

SPLITS = ("train", "val", "test")
"""Names of the splits, in order. A source may have only some of them."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready to draw tasks from.

    Attributes:
        name: name of the source, e.g. ``"omniglot"``.
        protocol: how it is split and shown, to be printed beside every figure.
        store: the examples.
        splits: a `ClassView` for each split there is (``"train"``, ``"val"``, ``"test"``).
        within_group: whether all classes of a task come from one group.
        provenance: source, licence, counts …; all strings.
        given: whether the tasks are given and not drawn: one for each group, see `metacortex.tasks.grouped`.
        apart: key of the classes' meta-data that says the source of each example, where support and query of a
            task are to share none, see `metacortex.tasks.apart`; empty where that does not matter.
    """

    name: str
    protocol: str
    store: ClassStore
    splits: Mapping[str, ClassView]
    within_group: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    given: bool = False
    apart: str = ""

    def split(self, name: str) -> ClassView:
        """The view of a split.

        Raises:
            DataError: if the source has no such split.
            SettingsError: if there is no split of this name anywhere.
        """
        if name in self.splits:
            return self.splits[name]
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        raise DataError(
            f"data source '{self.name}' has no split '{name}', only {', '.join(self.splits)}: name one of these, "
            "or give more data (a folder is split when it has at least 15 classes, or sub-folders train, val and test)"
        )


def parse_rotations(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Splits whose classes also come rotated, from a sequence or a text like ``"train,val"``, ``"all"``, ``"none"``.

    Raises:
        SettingsError: for a name that is no split.
    """
    parts = [p.strip() for p in value.split(",")] if isinstance(value, str) else list(value or ())
    if parts == ["all"]:
        return SPLITS
    parts = [p for p in parts if p and p != "none"]
    for part in parts:
        if part not in SPLITS:
            raise unknown_name("split for rotations", part, [*SPLITS, "all", "none"])
    return tuple(s for s in SPLITS if s in parts)


def square(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width from one number or a pair.

    Raises:
        DataError: unless both are whole and in 1..4096.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(n, int) and 1 <= n <= 4096 for n in pair):
        raise DataError(f"size must be a whole number of pixels in 1..4096, or (height, width), got {size!r}")
    return pair[0], pair[1]
