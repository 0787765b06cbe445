"""Spreading a batch of tasks over threads: threads across tasks beat threads inside small kernels."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import torch

from metacortex.engine.totals import add_up
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.task import Task
from metacortex.tree import tree_map

__all__ = ["spread"]


@cache
def _pool(threads: int, within: int) -> ThreadPoolExecutor:
    """Threads that wait for tasks until the process ends, each of which keeps PyTorch's number of threads in a task."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"tasks-{within}")


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def spread(
    strategy: Callable[[Learner, Task, Sequence[int]], tuple[Gradients, Outcome]],
    learner: Learner,
    batch: Task,
    workers: int,
) -> tuple[Gradients, Outcome]:
    """Sum of the task gradients, each worker taking a share of the tasks.

    Equal to the strategy on the whole batch up to rounding. The caller is one of the workers; each other one has a copy
    of the learner, as `torch.func.functional_call` exchanges the parameters of the module that it calls. Random
    numbers (dropout) are drawn in no fixed order, so only learners without them are reproducible.

    Args:
        strategy: what each worker does with its share.
        learner: it is left as it is.
        batch: tasks stacked along a leading axis ``[T, ...]``.
        workers: number of threads, at least 1.

    Returns:
        The summed gradient and the outcomes per task ``[T, ...]``.
    """
    count = batch.support.targets.shape[0]
    shares = min(workers, count)
    cuts = [count * i // shares for i in range(shares + 1)]
    tasks = batch.without_info()
    parts = [tree_map(lambda x, a=a, b=b: x[a:b], tasks) for a, b in pairwise(cuts)]
    # Made before the first share exchanges the original's parameters. They have parameters of their own: threads that
    # record operations on the same ones may wait for each other for ever.
    learners = [copy.deepcopy(learner) for _ in parts[1:]]
    others = [
        _pool(shares - 1, torch.get_num_threads()).submit(strategy, *share, ())
        for share in zip(learners, parts[1:], strict=True)
    ]
    try:
        first = strategy(learner, parts[0], ())
    finally:
        wait(others)
    done = [first, *(other.result() for other in others)]
    total: Gradients = {}
    for gradients, _ in done:
        add_up(total, gradients)
    outcomes = [outcome for _, outcome in done]
    return total, tree_map(lambda *xs: torch.cat(xs), *outcomes)
