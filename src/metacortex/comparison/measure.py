"""What a comparison measures besides accuracy: calibration, time and memory of adapting."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from metacortex.engine.gradient import evaluate_tasks
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.tree import tree_leaves

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.task import Task
    from metacortex.tasks.source import TaskSource

__all__ = ["adaptation_memory", "adaptation_seconds", "calibration_error", "confidence_and_hits", "state_bytes"]


def confidence_and_hits(learner: Learner, tasks: TaskSource, count: int) -> tuple[Tensor, Tensor]:
    """Highest class probability of each query, and whether that class is right.

    Args:
        learner: its probabilities are the softmax of its logits.
        tasks: classification tasks.
        count: how many of them.

    Returns:
        Two ``[queries of all tasks]`` tensors, float and bool; padding left out.
    """
    sure, right = [], []
    for first in range(0, count, 8):
        batch = tasks.batch(range(first, min(first + 8, count)))
        probabilities = evaluate_tasks(learner, batch).prediction.softmax(-1)  # [T, N, way]
        top, index = probabilities.max(-1)
        real = torch.ones_like(index, dtype=torch.bool) if batch.query.mask is None else batch.query.mask
        sure.append(top[real])
        right.append((index == batch.query.targets)[real])
    return torch.cat(sure), torch.cat(right)


def calibration_error(confidence: Tensor, hits: Tensor, bins: int = 15) -> float:
    """Expected calibration error: Σ_b |B_b|/n · |accuracy(B_b) − confidence(B_b)|.

    Args:
        confidence: ``[n]`` in 0–1.
        hits: ``[n]`` bool.
        bins: of equal width.

    Example:
        >>> calibration_error(torch.tensor([0.75, 0.75, 0.75, 0.75]), torch.tensor([True, True, True, False]))
        0.0

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """
    index = (confidence * bins).long().clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, hits.double() - confidence.double())
    return float(gaps.abs().sum() / max(len(confidence), 1))


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
    """Peak of the bytes that PyTorch has allocated at once on the CPU while adapting to one task."""
    task = next(_first(tasks, 1))
    with (
        evaluating(learner),
        torch.no_grad(),
        fused_kernels(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace,
    ):
        learner.adapt(task.support, description=task.description)
    held = peak = 0
    for event in sorted(trace.events() or (), key=lambda e: e.time_range.start):
        held += event.self_cpu_memory_usage
        peak = max(peak, held)
    return peak


def _first(tasks: TaskSource, count: int) -> Iterator[Task]:
    return (tasks.task(i).without_info() for i in range(count))
