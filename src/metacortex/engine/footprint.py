"""How much memory a meta-step will take, found out without taking it.

A copy of the learner without data (PyTorch's ``meta`` device) computes the gradient of tasks without data, and
the sizes of all tensors that are alive at once are added up. What is computed one after the other (tasks of the
strategy ``loop``, chunks) counts once, what is computed together (``vmap``, threads) as often as it is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from metacortex.engine.gradient import meta_gradient
from metacortex.engine.graphs import STREAMS
from metacortex.learners.base import Learner
from metacortex.learners.gradient.base import GradientLearner
from metacortex.nn.mode import counting
from metacortex.task import Examples, Task
from metacortex.tree import tree_leaves, tree_map

__all__ = ["Footprint", "PeakMemory", "estimate_footprint"]

_EAGER = {"compile": "loop", "compile-vmap": "vmap", "graph": "loop", "graph-vmap": "vmap"}
"""Compiled and recorded code takes about what it is made from does, or less."""

_ENOUGH_STEPS = 4
"""Inner steps that are gone through; from there on memory grows evenly with their number, or not at all."""


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors that are alive at once, of those made inside the context.

    Attributes:
        peak: the largest number of bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sum = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference.cdata not in self._alive:
                    self._alive[reference.cdata] = reference, storage.nbytes()
                    self._sum += storage.nbytes()
        # What has gone meanwhile only matters when there seems to be more than ever before.
        if self._sum > self.peak:
            self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
            self._sum = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._sum)
        return result


@dataclass(frozen=True)
class Footprint:
    """Bytes of tensors that a meta-step of a training run has alive at its peak, beside the learner itself.

    Attributes:
        computing: what is alive while gradients are computed: activations, fast weights, graphs.
        batch: inputs and targets of the meta-batch.
        outer: summed gradients, and the state of the outer optimiser.
        traced: False where tensors without data could not be used and one task was computed instead.
    """

    computing: int
    batch: int
    outer: int
    traced: bool = True

    @property
    def total(self) -> int:
        """All of it."""
        return self.computing + self.batch + self.outer


def estimate_footprint(
    learner: Learner,
    batch: Task,
    *,
    strategy: str = "loop",
    workers: int = 1,
    micro_tasks: int = 0,
    micro_queries: int = 0,
) -> Footprint:
    """How much memory a meta-step takes.

    Args:
        learner: in training mode; it is left as it is.
        batch: a meta-batch ``[T, ...]`` of the run (of one process of it).
        strategy: as for `metacortex.engine.gradient.meta_gradient`, as the rest.
        workers: threads.
        micro_tasks: tasks computed at once; 0: all.
        micro_queries: queries of a task computed at once; 0: all.

    Returns:
        The `Footprint`. The tensors are counted exactly; what the process takes from the system is more by what
        kernels need for themselves and the allocator keeps, see `metacortex.engine.memory.overhead`.

    Example:
        >>> from metacortex.learners.gradient.maml import MAML
        >>> from metacortex.task import stack_tasks
        >>> x, y = torch.rand(4, 100), torch.tensor([0, 0, 1, 1])
        >>> batch = stack_tasks([Task.classification(x, y, x, y)] * 8)
        >>> learner = MAML(nn.Linear(100, 2), 0.1, inner_steps=2, unroll="graph").train()
        >>> loop, vmap = (estimate_footprint(learner, batch, strategy=name) for name in ("loop", "vmap"))
        >>> vmap.computing > 4 * loop.computing
        True
    """
    count = batch.support.targets.shape[0]
    at_once = min(micro_tasks or count, count)
    if strategy in ("graph", "compile") and batch.query.targets.is_cuda:
        workers = STREAMS
    strategy = _EAGER.get(strategy, strategy)
    part = _cut(batch, 1 if strategy == "loop" else -(-at_once // workers), micro_queries)
    computing, traced = _computing(learner, part, strategy)
    weights = sum(_bytes(x) for x in learner.meta_parameters().values())
    sums = sum(8 * x.numel() for x in learner.meta_parameters().values())
    threads = min(workers, at_once)
    # Each further thread has a copy of the learner. The optimiser has two moments, the gradient is there twice.
    return Footprint(
        threads * computing + (threads - 1) * weights,
        sum(_bytes(x) for x in tree_leaves(batch.without_info()) if isinstance(x, Tensor)),
        4 * weights + sums,
        traced,
    )


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _cut(batch: Task, tasks: int, queries: int) -> Task:
    """The first tasks of a batch, with the first queries."""
    cut = tree_map(lambda x: x[:tasks], batch.without_info())
    if not queries:
        return cut
    query = cut.query
    inputs = tree_map(lambda x: x[:, :queries], query.inputs)
    mask = None if query.mask is None else query.mask[:, :queries]
    return replace(cut, query=Examples(inputs, query.targets[:, :queries], mask, query.classes))


def _computing(learner: Learner, part: Task, strategy: str) -> tuple[int, bool]:
    try:
        shadow, device = _without_data(learner), part.query.targets.device.type
        tasks = tree_map(lambda x: torch.empty_like(x, device="meta"), part)
        if not (isinstance(shadow, GradientLearner) and shadow.inner_steps > _ENOUGH_STEPS):
            return _peak(shadow, tasks, strategy, device), True
        more, shadow.inner_steps = shadow.inner_steps - _ENOUGH_STEPS, _ENOUGH_STEPS
        peak = _peak(shadow, tasks, strategy, device)
        shadow.inner_steps -= 1
        return peak + more * max(peak - _peak(shadow, tasks, strategy, device), 0), True
    except Exception:  # whatever needs the values of tensors
        one = tree_map(lambda x: x[:1], part)
        with torch.random.fork_rng(devices=[]):
            return part.support.targets.shape[0] * _peak(learner, one, strategy), False


def _peak(learner: Learner, tasks: Task, strategy: str, device: str = "cpu") -> int:
    with PeakMemory() as memory:
        if next(learner.parameters()).is_meta:
            with counting(device):  # no branches on values; a learner that changes as it learns takes the larger one
                meta_gradient(learner, tasks, strategy=strategy)
        else:
            meta_gradient(learner, tasks, strategy=strategy)
    return memory.peak


def _without_data(learner: Learner) -> Learner:
    """A copy with parameters and buffers on the ``meta`` device; nothing of their size is copied on the way."""
    empty: dict[int, Any] = {}
    for p in learner.parameters():
        empty[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
    for x in learner.buffers():
        empty[id(x)] = torch.empty_like(x, device="meta")
    return copy.deepcopy(learner, empty)
