"""Episodes: few-shot classification tasks drawn from the classes of a split."""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.errors import DataError
from metacortex.task import Examples, Task, unstack_tasks
from metacortex.tasks.apart import Sources
from metacortex.tasks.pools import ClassPools, EpisodeSpec
from metacortex.tasks.random import bits, choose, fold, integers, root_key
from metacortex.tasks.reading import ExampleReader

if TYPE_CHECKING:
    from metacortex.data.view import ClassView

__all__ = ["EpisodeSpec", "Episodes"]

Integers = NDArray[np.int64]

# Streams of random numbers within a task. Their numbers are part of what a task is: never renumber.
_WAY, _SHOT, _QUERIES, _GROUP, _CLASSES, _MEMBERS = range(6)


@dataclass(frozen=True)
class _Plan:
    """What T tasks consist of: numbers only, nothing read yet. W, M: the largest way and shot + queries."""

    way: Integers  # [T]
    shot: Integers  # [T]
    queries: Integers  # [T]
    classes: Integers  # [T, W] class of the view in each slot
    members: Integers  # [T, W, M] examples of each class: the shots, then the queries


class Episodes:
    """Few-shot classification tasks, drawn from the classes of a view.

    Task ``i`` is a pure function of ``(seed, split, i)`` and of the view. Its classes are drawn
    without replacement and put into random slots; in each class ``shot + queries`` examples are
    drawn without replacement, the first ``shot`` of them are the support. Rows are in class-major
    order: the shots of slot 0, of slot 1, ...; the queries likewise.

    Within groups (Omniglot's alphabets), first a group is drawn, uniformly over the groups that
    have at least ``way`` classes (the upper end of a range), whatever their size; then the classes in it.

    Args:
        view: the classes to draw from.
        spec: the size of the tasks.
        seed: any integer.
        split: name of the split; different splits have unrelated tasks.
        within_group: draw all classes of a task from one group.
        dtype: of the inputs, see `ExampleReader`.
        min_examples: leave out classes with fewer examples than this.
        apart: key of the classes' meta-data that says the source of each example; support and query of a class then
            share no source, see `metacortex.tasks.apart.Sources`. Empty: examples are drawn whatever their source.

    Raises:
        DataError: if the view is empty, a class too small, or there are fewer classes (or
            groups of classes) than a task needs.
        SettingsError: for a dtype that the store cannot give.
    """

    def __init__(
        self,
        view: ClassView,
        spec: EpisodeSpec,
        *,
        seed: int,
        split: str,
        within_group: bool = False,
        dtype: torch.dtype = torch.float32,
        min_examples: int | None = None,
        apart: str = "",
    ) -> None:
        self.view = view
        self.spec = spec
        self.seed = operator.index(seed)
        self.split = split
        self.within_group = within_group
        self._counts = np.asarray(view.counts(), dtype=np.int64)  # [classes of the view]
        self._names: list[str] = list(view.names)
        self._ranges = [spec.range_of(name) for name in ("way", "shot", "queries")]
        self._pools = ClassPools.of(view, spec, split=split, within_group=within_group, min_examples=min_examples)
        self._reader = ExampleReader(view, dtype)
        self._key = root_key(self.seed, split)
        self._sources = Sources(view, apart) if apart else None
        self._device = torch.device("cpu")

    def to(self, device: torch.device) -> Episodes:
        """The same tasks on a device, drawn from examples that lie there if they fit, see `ExampleReader.to`."""
        moved = copy.copy(self)
        moved._reader, moved._device = self._reader.to(device), device
        return moved

    @property
    def protocol(self) -> str:
        """What is drawn, e.g. ``"5-way 1-shot 15 queries, split test"``."""
        text = f"{self.spec}, split {self.split}" + (", classes of one group" if self.within_group else "")
        return text + ("" if self._sources is None else f", queries of other {self._sources.key}")

    def task(self, index: int) -> Task:
        """Draw one task.

        Args:
            index: which, from 0.

        Returns:
            A `Task` with inputs ``[W*S, *shape]`` and ``[W*Q, *shape]``, no masks, and
            ``info = {"index", "classes", "members"}``: the index, the W names of the classes and
            for each of them which of its examples were drawn (the shots first).

        Raises:
            DataError: for a negative index.
        """
        return unstack_tasks(self.batch([index]))[0]

    def batch(self, indices: Sequence[int]) -> Task:
        """Draw several tasks at once: bit for bit ``stack_tasks([self.task(i) for i in indices])``.

        Args:
            indices: which, in any order; repetitions are fine.

        Returns:
            A `Task` with a leading task axis; where the tasks differ in size, padded with zeros
            and masked. ``info`` is the list of the tasks' infos.

        Raises:
            DataError: for no index at all, or a negative one.
        """
        numbers = _check_indices(indices)
        plan = self._plan(numbers)
        slots = np.arange(plan.way.max())
        classes = torch.from_numpy(slots < plan.way[:, None])  # [T, W]
        support = self._examples(plan, np.zeros_like(plan.shot), plan.shot, classes)
        query = self._examples(plan, plan.shot, plan.queries, classes.clone())
        return Task(support, query, info=self._infos(numbers, plan)).to(self._device)

    def batches(self, count: int, size: int, start: int = 0) -> Iterator[Task]:
        """The tasks ``start .. start+count-1`` in order, in batches of ``size`` (the last may be smaller)."""
        for first in range(start, start + count, size):
            yield self.batch(range(first, min(first + size, start + count)))

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over the tasks ``0 .. count-1``: their sizes, classes, rotations and members.

        Two sources with the same store and the same fingerprint give the same tasks.
        """
        digest = hashlib.sha256()
        index, turns = np.asarray(self.view.index), np.asarray(self.view.rotation)
        for first in range(0, count, 256):
            plan = self._plan(np.arange(first, min(first + 256, count)))
            for t, (way, shot, queries) in enumerate(zip(plan.way, plan.shot, plan.queries, strict=True)):
                classes = plan.classes[t, :way]
                members = plan.members[t, :way, : shot + queries]
                for part in ((way, shot, queries), index[classes], turns[classes], members):
                    digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
        return digest.hexdigest()

    def _plan(self, indices: Integers) -> _Plan:
        """Sizes, classes and members; every draw is the beginning of the longest one, so no task sees another."""
        keys = fold(self._key, indices)  # [T]
        way, shot, queries = (
            low + integers(bits(fold(keys, stream), 1)[:, 0], high - low + 1)
            for stream, (low, high) in zip((_WAY, _SHOT, _QUERIES), self._ranges, strict=True)
        )
        pools = self._pools
        pool = integers(bits(fold(keys, _GROUP), 1)[:, 0], len(pools.sizes))  # [T]
        slots = np.arange(way.max())
        drawn = choose(fold(keys, _CLASSES), pools.sizes[pool], len(slots))  # [T, W]
        classes = pools.classes[pools.starts[pool][:, None] + drawn]  # [T, W]
        member_keys = fold(fold(keys, _MEMBERS)[:, None], slots)  # [T, W]
        if self._sources is not None:
            return _Plan(way, shot, queries, classes, self._apart(self._sources, member_keys, classes, shot, queries))
        members = choose(member_keys.ravel(), self._counts[classes].ravel(), int((shot + queries).max()))
        return _Plan(way, shot, queries, classes, members.reshape(*classes.shape, -1))

    def _apart(
        self, sources: Sources, keys: NDArray[np.uint64], classes: Integers, shot: Integers, queries: Integers
    ) -> Integers:
        """``[T, W, M]``: members whose queries come from other sources than their shots."""
        members = np.zeros((*classes.shape, int((shot + queries).max())), np.int64)
        for t, slot in np.ndindex(*classes.shape):
            drawn = sources.draw(keys[t, slot], int(classes[t, slot]), int(shot[t]), int(queries[t]))
            members[t, slot, : len(drawn)] = drawn
        return members

    def _examples(self, plan: _Plan, begin: Integers, length: Integers, classes: Tensor) -> Examples:
        """The rows ``begin .. begin+length`` of each class of each task, packed to the left of ``[T, N]``."""
        column = np.arange(plan.members.shape[2]) - begin[:, None]  # [T, M]
        wanted = (column >= 0) & (column < length[:, None])
        taken = classes.numpy()[:, :, None] & wanted[:, None, :]  # [T, W, M]
        tasks, slots, columns = np.nonzero(taken)  # in class-major order within each task
        inputs = self._reader.read(plan.classes[tasks, slots], plan.members[tasks, slots, columns])
        targets = torch.from_numpy(slots)
        rows = plan.way * length  # [T]
        if (rows == rows[0]).all():
            shape = (len(rows), int(rows[0]))
            return Examples(inputs.reshape(*shape, *inputs.shape[1:]), targets.reshape(shape), None, classes)
        mask = torch.from_numpy(np.arange(rows.max()) < rows[:, None])  # [T, N]
        return Examples(_scatter(inputs, mask.to(inputs.device)), _scatter(targets, mask), mask, classes)

    def _infos(self, indices: Integers, plan: _Plan) -> list[dict[str, Any]]:
        per_class = plan.shot + plan.queries
        return [
            {
                "index": int(index),
                "classes": [self._names[c] for c in plan.classes[t, : plan.way[t]]],
                "members": plan.members[t, : plan.way[t], : per_class[t]].tolist(),
            }
            for t, index in enumerate(indices)
        ]


def _scatter(rows: Tensor, mask: Tensor) -> Tensor:
    out = rows.new_zeros(*mask.shape, *rows.shape[1:])
    out[mask] = rows
    return out


def _check_indices(indices: Sequence[int]) -> Integers:
    numbers = [operator.index(i) for i in indices]
    if not numbers:
        raise DataError("a batch needs at least one task index, got none")
    if min(numbers) < 0:
        raise DataError(f"task indices count from 0, got {min(numbers)}")
    return np.array(numbers, dtype=np.int64)
