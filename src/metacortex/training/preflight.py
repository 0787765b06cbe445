"""Before a run: will its steps fit into memory? If not, what would?"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metacortex.engine.distributed import Ranks
from metacortex.engine.footprint import estimate_footprint
from metacortex.engine.memory import available_memory, keep_freed_memory, overhead
from metacortex.engine.micro import check_query_chunks, task_chunks
from metacortex.errors import SettingsError
from metacortex.learners.base import Learner
from metacortex.learners.gradient.base import GradientLearner
from metacortex.settings import TrainingSettings
from metacortex.task import Task
from metacortex.tree import tree_leaves

__all__ = ["Forecast", "MemoryWarning", "foresee_memory", "is_out_of_memory", "size_text"]

_HARDLY = 2000
"""Bytes that a step takes for each byte of weights and inputs and each inner step, at the very most: where even
that fits, nothing is estimated. (A Conv4 takes about 100, a perceptron less.)"""

_FULL = 0.9
"""Share of the free memory that may be filled."""


class MemoryWarning(UserWarning):
    """A run is likely to need more memory than there is."""


@dataclass(frozen=True)
class Forecast:
    """What a step is expected to take.

    Attributes:
        need: bytes that the process will take from the system (or from the GPU), about.
        free: bytes that it can take; with several processes on a machine, its part of them.
        proposals: settings that take less -> bytes; only where ``need`` does not fit.
    """

    need: int
    free: int
    proposals: dict[str, int]

    @property
    def fits(self) -> bool:
        """Whether there is enough, with something to spare."""
        return self.need <= _FULL * self.free

    def __str__(self) -> str:
        said = f"a meta-step is expected to take {size_text(self.need)} of memory, {size_text(self.free)} are free"
        if self.fits:
            return said
        listed = "; ".join(f"{name} ({size_text(size)})" for name, size in self.proposals.items())
        return f"{said}: the run may be killed. " + (f"What takes less: {listed}" if listed else "Take smaller tasks")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory could not be had, on a CPU or a GPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def size_text(size: float) -> str:
    """Bytes for people.

    Example:
        >>> size_text(3 * 2**30), size_text(5_000_000), size_text(1000)
        ('3.0 GiB', '4.8 MiB', '0.0 MiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def foresee_memory(
    learner: Learner,
    tasks: Any,
    batch_size: int,
    strategy: str,
    settings: TrainingSettings,
    *,
    ranks: Ranks | None = None,
    free: int | None = None,
) -> Forecast | None:
    """Estimate the peak of a meta-step, and warn with proposals where it will not fit.

    Where it does not fit with kept memory (see `metacortex.engine.memory.keep_freed_memory`), that is given up first.

    Args:
        learner: what is trained; it is left as it is.
        tasks: meta-training tasks.
        batch_size: tasks per meta-batch, of all processes.
        strategy: of the engine.
        settings: chunks and threads.
        ranks: processes that share the tasks.
        free: bytes that can be taken; found out when not given.

    Returns:
        The `Forecast`; ``None`` where the run is far too small to matter, or the system does not tell what is free.

    Warns:
        MemoryWarning: saying what is needed, what is free, and what takes less.
    """
    ranks = Ranks() if ranks is None else ranks
    device = next(learner.parameters()).device
    free = _free(device) if free is None else free
    if free is None:
        return None
    free //= ranks.local_size
    share = -(-batch_size // ranks.size)
    if not _matters(learner, tasks, share, strategy, free):
        return None
    plan = _Plan(learner.train(), tasks.batch(range(share)), strategy, settings)
    tensors = plan.tensors()
    if device.type == "cpu":
        forecast = Forecast(round(overhead() * tensors), free, {})
        if forecast.fits:
            return forecast
        keep_freed_memory(False)
    forecast = Forecast(round(overhead(kept=False) * tensors), free, {})
    if not forecast.fits:
        found = {name: other.tensors() for name, other in plan.alternatives(_FULL * free / forecast.need)}
        less = {name: round(overhead(kept=False) * x) for name, x in found.items() if x < 0.9 * tensors}
        forecast = replace(forecast, proposals=less)
        warnings.warn(str(forecast), MemoryWarning, stacklevel=2)
    return forecast


def _free(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


def _matters(learner: Learner, tasks: Any, share: int, strategy: str, free: int) -> bool:
    one = sum(x.numel() * x.element_size() for x in tree_leaves(tasks.task(0).without_info()) if isinstance(x, Tensor))
    weights = sum(p.numel() * p.element_size() for p in learner.parameters())
    steps = int(getattr(learner, "inner_steps", 0))
    together = share if "vmap" in strategy else 1
    return _HARDLY * (1 + steps) * (weights + one) * together > free


@dataclass(frozen=True)
class _Plan:
    """A way to compute a step."""

    learner: Learner
    batch: Task
    strategy: str
    settings: TrainingSettings

    def tensors(self) -> int:
        """Bytes of tensors that are alive at once."""
        settings = self.settings
        return estimate_footprint(
            self.learner,
            self.batch,
            strategy=self.strategy,
            workers=settings.workers,
            micro_tasks=settings.micro_tasks,
            micro_queries=settings.micro_queries,
        ).total

    def alternatives(self, room: float) -> Iterator[tuple[str, _Plan]]:
        """What could be changed, as flags: first what leaves the gradient as it is; ``room``: the share that fits."""
        settings, learner, count = self.settings, self.learner, self.batch.support.targets.shape[0]
        at_once = min(settings.micro_tasks or count, count)
        if "vmap" in self.strategy and at_once > 1:
            fewer = max(int(min(room, 0.5) * at_once), 1)
            yield f"--micro-tasks {fewer}", self._with(micro_tasks=fewer)
            yield "--strategy loop", replace(self, strategy="loop")
        if settings.workers > 1:
            yield "--workers 1", self._with(workers=1)
        if isinstance(learner, GradientLearner) and not learner.first_order:
            if learner.autograd_gradient and learner.steps > 1:
                yield "--set learner.unroll=steps", self._changed(unroll="steps")
            if learner.order == 2:
                yield "--order 1", self._changed(order=1)
        queries = min(settings.micro_queries or self.batch.query.targets.shape[1], self.batch.query.targets.shape[1])
        if queries > 1 and _takes_query_chunks(learner):
            yield f"--micro-queries {queries // 2}", self._with(micro_queries=queries // 2)
        if count > 1:
            fewer = max(int(min(room, 0.5) * count), 1)
            yield f"--tasks {fewer}", replace(self, batch=_first(self.batch, fewer))

    def _with(self, **settings: Any) -> _Plan:
        return replace(self, settings=replace(self.settings, **settings))

    def _changed(self, **attributes: Any) -> _Plan:
        learner = copy.deepcopy(self.learner)
        for name, value in attributes.items():
            setattr(learner, name, value)
        return replace(self, learner=learner)


def _takes_query_chunks(learner: Learner) -> bool:
    try:
        check_query_chunks(learner)
    except SettingsError:
        return False
    return True


def _first(batch: Task, count: int) -> Task:
    return next(task_chunks(batch, count))[0]
