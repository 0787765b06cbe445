"""What a comparison measures besides scores: time and memory of adapting."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.tree import tree_leaves

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.task import Task
    from metacortex.tasks.source import TaskSource

__all__ = ["adaptation_memory", "adaptation_seconds", "state_bytes"]


def adaptation_seconds(learner: Learner, tasks: TaskSource, count: int = 20) -> float:
    """Median seconds of one adaptation (the first is not counted)."""
    times = []
    with evaluating(learner), torch.no_grad(), fused_kernels():
        for task in _first(tasks, count + 1):
            began = time.perf_counter()
            learner.adapt(task.support, description=task.description)
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def state_bytes(learner: Learner, tasks: TaskSource) -> int:
    """Bytes of tensors that adaptation leaves behind for one task."""
    with evaluating(learner), torch.no_grad():
        task = next(_first(tasks, 1))
        state = learner.adapt(task.support, description=task.description)
    return sum(x.numel() * x.element_size() for x in tree_leaves(state) if isinstance(x, Tensor))


def adaptation_memory(learner: Learner, tasks: TaskSource) -> int:
    """Peak of the bytes that PyTorch has allocated at once on the CPU while adapting to one task.

    Counted between operators: what one of them takes and gives back within itself (the workspace of a solver, say) is
    not seen, so the true peak may be a fifth or so higher.
    """
    task = next(_first(tasks, 1))
    with (
        evaluating(learner),
        torch.no_grad(),
        fused_kernels(),
        _unannounced(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace,
    ):
        learner.adapt(task.support, description=task.description)
    held = peak = 0
    for event in sorted(trace.events() or (), key=lambda e: e.time_range.start):
        held += event.self_cpu_memory_usage
        peak = max(peak, held)
    return peak


@contextmanager
def _unannounced() -> Iterator[None]:
    """Keep back the lines ``USDT:…`` that PyTorch's profiler writes, and that no setting of it turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file:
                if not line.startswith(b"USDT:"):
                    os.write(2, line)


def _first(tasks: TaskSource, count: int) -> Iterator[Task]:
    return (tasks.task(i).without_info() for i in range(count))
