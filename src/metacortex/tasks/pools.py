"""What tasks are asked to be (their size) and what they can be drawn from (pools of classes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError, SettingsError

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["ClassPools", "EpisodeSpec"]

Integers = NDArray[np.int64]
Range = tuple[int, int]


@dataclass(frozen=True)
class EpisodeSpec:
    """The size of an episode; each an int, or an inclusive range ``(low, high)`` drawn per task.

    Attributes:
        way: classes of a task.
        shot: support examples per class.
        queries: query examples per class.

    Raises:
        SettingsError: for anything but positive ints and ordered pairs of them.
    """

    way: int | Range = 5
    shot: int | Range = 1
    queries: int | Range = 15

    def __post_init__(self) -> None:
        for name in ("way", "shot", "queries"):
            value = getattr(self, name)
            pair = (value, value) if _is_int(value) else tuple(value) if isinstance(value, (tuple, list)) else ()
            if len(pair) != 2 or not all(map(_is_int, pair)) or not 1 <= pair[0] <= pair[1]:
                raise SettingsError(f"{name}: expected a positive int or a range (low, high) of them, got {value!r}")
            if not _is_int(value):
                object.__setattr__(self, name, pair)

    def range_of(self, name: str) -> Range:
        """``(low, high)`` of ``"way"``, ``"shot"`` or ``"queries"``."""
        value = getattr(self, name)
        return (value, value) if _is_int(value) else value

    def __str__(self) -> str:
        way, shot, queries = (_show(self.range_of(name)) for name in ("way", "shot", "queries"))
        return f"{way}-way {shot}-shot {queries} queries"


@dataclass(frozen=True, eq=False)
class ClassPools:
    """The classes of a view that tasks are drawn from; all classes of a task come from one pool.

    Attributes:
        classes: ``[C]`` classes of the view, pool after pool.
        starts: ``[P]`` where each pool begins in ``classes``.
        sizes: ``[P]`` number of classes of each pool, at least the largest way.
    """

    classes: Integers
    starts: Integers
    sizes: Integers

    @staticmethod
    def of(
        view: ClassView, spec: EpisodeSpec, *, split: str, within_group: bool, min_examples: int | None
    ) -> ClassPools:
        """One pool of all classes, or one for each group that can fill the largest way.

        Raises:
            DataError: if the view is empty, a class too small or no pool large enough.
        """
        usable = _large_enough(view, spec, split, min_examples)
        way = spec.range_of("way")[1]
        if not within_group:
            if way > len(usable):
                raise DataError(
                    f"a {way}-way task needs {way} classes, split '{split}' has {len(usable)} "
                    f"with enough examples: lower way to {len(usable)} or less"
                )
            return ClassPools(usable, np.zeros(1, np.int64), np.array([len(usable)]))
        if view.group is None:
            raise DataError(
                f"within_group=True, but the classes of '{view.store.name}' have no groups: set it to False"
            )
        group = view.group[usable]
        order = np.argsort(group, kind="stable")
        _, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
        if sizes.max() < way:
            raise DataError(
                f"a {way}-way task within one group needs a group of {way} classes, the largest of split '{split}' "
                f"has {sizes.max()}: lower way to {sizes.max()} or less, or set within_group=False"
            )
        return ClassPools(usable[order], starts[sizes >= way], sizes[sizes >= way])


def _large_enough(view: ClassView, spec: EpisodeSpec, split: str, min_examples: int | None) -> Integers:
    """The classes with at least ``min_examples``; an error if one of them is too small for a task."""
    counts = view.counts()
    if not len(counts):
        raise DataError(f"split '{split}' of '{view.store.name}' has no classes: no task can be drawn from it")
    usable = np.flatnonzero(counts >= (min_examples or 0))
    if not len(usable):
        raise DataError(
            f"no class of split '{split}' has min_examples={min_examples} examples, "
            f"the largest has {counts.max()}: lower min_examples"
        )
    shot, queries = spec.range_of("shot")[1], spec.range_of("queries")[1]
    short = usable[counts[usable] < shot + queries]
    if len(short):
        smallest = short[np.argmin(counts[short])]
        raise DataError(
            f"class '{view.names[smallest]}' has {_plural(int(counts[smallest]))}, a {shot}-shot task with "
            f"{queries} queries needs {shot + queries}{_others(len(short) - 1)}: "
            f"lower shot or queries, or drop such classes with min_examples={shot + queries}"
        )
    return usable


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _show(bounds: Range) -> str:
    low, high = bounds
    return f"{low}" if low == high else f"{low}..{high}"


def _plural(count: int) -> str:
    return f"{count} example" if count == 1 else f"{count} examples"


def _others(count: int) -> str:
    if not count:
        return ""
    return " (1 other class is too small as well)" if count == 1 else f" ({count} other classes are too small as well)"
