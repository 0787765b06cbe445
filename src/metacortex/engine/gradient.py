"""The meta-gradient of a batch of tasks, by one of several strategies.

    dL/dφ = Σ_i dL_i/dφ   (or the mean over the tasks)

``loop`` is the reference: one task after the other, plain and eager. Every other strategy must
give the same gradient. ``vmap`` computes all tasks at once. ``compile`` is ``loop`` with the gradient of one task as
machine code, ``compile-vmap`` the same for all tasks at once, see `metacortex.engine.compiled`. On a GPU ``graph``
and ``graph-vmap`` launch what ``loop`` and ``vmap`` compute as one CUDA graph, see `metacortex.engine.graphs`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from metacortex.engine.compiled import Compiling
from metacortex.engine.devices import device_of
from metacortex.engine.distributed import Ranks
from metacortex.engine.graphs import Graphing, Replays
from metacortex.engine.micro import check_query_chunks, in_query_chunks, task_chunks
from metacortex.engine.precision import attention_by_formula, autocasting, rounding, usable_precision
from metacortex.engine.totals import Totals, add_up
from metacortex.engine.workers import spread
from metacortex.errors import LearnerError, MetacortexError, SettingsError, first_line, unknown_name
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.learners.gradient.base import GradientLearner
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Task, unstack_tasks
from metacortex.tree import tree_map

__all__ = ["MappingWarning", "Reduction", "evaluate_tasks", "meta_gradient", "strategy_names"]


class MappingWarning(UserWarning):
    """Tasks are computed one after the other, as their model has no rule for vmap."""


Reduction = Literal["mean", "sum"]
Strategy = Callable[[Learner, Task, Sequence[int]], tuple[Gradients, Outcome]]
"""From a learner, a batch of tasks and seeds (one per task, or none) to summed gradients and outcomes per task."""


def loop(learner: Learner, batch: Task, seeds: Sequence[int] = ()) -> tuple[Gradients, Outcome]:
    """Sum of the task gradients, one task after the other; each may have a seed of its own."""
    total: Gradients = {}
    outcomes = []
    with fused_kernels():
        for place, task in enumerate(unstack_tasks(batch)):
            if seeds:
                torch.manual_seed(seeds[place])
            gradients, outcome = learner.task_gradient(task.without_info())
            add_up(total, gradients)
            outcomes.append(outcome)
    return total, tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])


def vectorised(learner: Learner, batch: Task, seeds: Sequence[int] = ()) -> tuple[Gradients, Outcome]:
    """Sum of the task gradients with `torch.func.vmap` over the tasks, which draw from the first one's seed."""
    if seeds:
        torch.manual_seed(seeds[0])
    tasks = batch.without_info()
    # Under vmap some convolution and norm kernels refuse channels-last weights.
    phi = {name: p.contiguous() for name, p in learner.meta_parameters().items()}
    if not learner.autograd_gradient:
        leaves = {name: p.requires_grad_() for name, p in phi.items()}
        each = vmap(lambda task: learner.call(leaves, "task_gradient", task), randomness="different")
        gradients, outcomes = each(tasks)
        return {name: g.sum(0) for name, g in gradients.items()}, outcomes

    def total(phi: dict[str, Tensor]) -> tuple[Tensor, Outcome]:
        outcomes = vmap(lambda task: learner.call(phi, "loss", task), randomness="different")(tasks)
        return outcomes.loss.sum(), outcomes

    gradients, outcomes = grad(total, has_aux=True)(phi)
    return gradients, tree_map(Tensor.detach, outcomes)


_STRATEGIES: dict[str, Strategy] = {"loop": loop, "vmap": vectorised}
"""Those that compute as they go; also what the compiling ones fall back to."""

_NOT_MAPPED: WeakKeyDictionary[Learner, str] = WeakKeyDictionary()
"""Learners whose tasks cannot be computed at once, and why."""

_GRAPHING: dict[str, tuple[Graphing, str]] = {
    "graph": (Graphing("graph", None), "loop"),
    "graph-vmap": (Graphing("graph-vmap", vectorised), "vmap"),
}
_COMPILING: dict[str, tuple[Compiling, str]] = {
    "compile": (Compiling("compile", loop, batched=False), "loop"),
    "compile-vmap": (Compiling("compile-vmap", vectorised, batched=True), "vmap"),
}


def strategy_names(*, compiling: bool = False, graphs: bool = False) -> list[str]:
    """Names of the strategies, sorted; with or without those that compile and those that record CUDA graphs."""
    return sorted(_STRATEGIES | (_COMPILING if compiling else {}) | (_GRAPHING if graphs else {}))


def meta_gradient(
    learner: Learner,
    batch: Task | None,
    *,
    strategy: str = "loop",
    reduction: Reduction = "mean",
    workers: int = 1,
    micro_tasks: int = 0,
    micro_queries: int = 0,
    seeds: Sequence[int] = (),
    precision: str = "float32",
    ranks: Ranks | None = None,
) -> tuple[Gradients, Outcome]:
    """dL/dφ over a batch of tasks.

    Args:
        learner: in training mode for meta-training.
        batch: tasks stacked along a leading axis ``[T, ...]``, see `metacortex.task.stack_tasks`. With several
            processes the share of this one, ``None`` where it has no task.
        strategy: see `strategy_names`.
        reduction: ``"mean"`` or ``"sum"`` over the tasks (of all processes), of loss and gradient alike.
        workers: threads that share the tasks, see `metacortex.engine.workers.spread`.
        micro_tasks: tasks that are computed at once, the gradients of such chunks being added; 0: all.
        micro_queries: likewise queries of a task, for learners with which that is exact, see
            `metacortex.engine.micro.check_query_chunks`; 0: all.
        seeds: a seed for each task of the batch, for learners that draw random numbers; none: they draw from
            PyTorch's generator as it is. With ``vmap`` or ``workers`` only the first of a chunk counts.
        precision: of convolutions and matrix products, see `metacortex.engine.precision.PRECISIONS`.
        ranks: the processes that share the tasks; each gets the same gradient.

    Returns:
        The gradient by parameter name, and an `Outcome`: ``loss`` reduced; ``prediction`` and
        ``metrics`` per task of this process ``[T, ...]`` (``None`` and empty where it has none); ``buffers``
        averaged over the tasks, counters as they are. All detached.

    Raises:
        SettingsError: for an unknown strategy, reduction or precision, sizes out of range, or chunks of queries
            with a learner for which they are not exact.
        LearnerError: for a learner without parameters to learn.
        RunError: if another process has ended.
    """
    _check(learner, strategy, reduction, workers, micro_tasks, micro_queries)
    ranks = Ranks() if ranks is None else ranks
    if batch is None and ranks.size == 1:
        raise SettingsError("a meta-gradient needs at least one task, got no batch")
    device = device_of(learner)
    precision = usable_precision(precision, device, learner)
    totals, outcomes = Totals(), []
    # The fused kernels of recurrent cells on GPUs have no second derivative.
    recurrent = device.type == "cuda" and _recurrent(learner)
    with rounding(precision, device, cudnn_enabled=not recurrent):
        for chunk, drawn in () if batch is None else task_chunks(batch, micro_tasks, seeds):

            def compute(part: Task, drawn: Sequence[int] = drawn) -> tuple[Gradients, Outcome]:
                return _sums(learner, part, strategy, workers, drawn, precision)

            gradients, outcome = in_query_chunks(compute, learner, chunk, micro_queries)
            totals.add(gradients, outcome)
            outcomes.append(outcome)
    return _reduced(learner, totals.over(ranks, learner), outcomes, reduction)


def _recurrent(learner: Learner) -> bool:
    """Whether second derivatives go through stock recurrent cells."""
    twice = isinstance(learner, GradientLearner) and not learner.first_order
    return twice and any(isinstance(module, nn.RNNBase) for module in learner.modules())


def _check(learner: Learner, strategy: str, reduction: str, workers: int, tasks: int, queries: int) -> None:
    if not any(strategy in known for known in (_STRATEGIES, _COMPILING, _GRAPHING)):
        raise unknown_name("strategy", strategy, strategy_names(compiling=True, graphs=True))
    if reduction not in ("mean", "sum"):
        raise unknown_name("reduction", reduction, ("mean", "sum"))
    if not any(p.requires_grad for p in learner.parameters()):
        raise LearnerError(f"learner '{learner.name}' has no parameters to learn")
    if workers < 1:
        raise SettingsError(f"workers must be at least 1, got {workers}")
    if tasks < 0 or queries < 0:
        raise SettingsError(f"micro_tasks and micro_queries must not be negative, got {tasks} and {queries}")
    if queries:
        check_query_chunks(learner)


def _reduced(learner: Learner, totals: Totals, outcomes: list[Outcome], reduction: str) -> tuple[Gradients, Outcome]:
    share = totals.count if reduction == "mean" else 1
    # Sums are this function's own; what came from a graph may share its memory.
    gradients = {n: g.div_(share) if g.dtype == torch.float64 else g / share for n, g in totals.gradients.items()}
    if not outcomes or any(g.dtype == torch.float64 for g in gradients.values()):
        own_types = {name: p.dtype for name, p in learner.named_parameters()}
        gradients = {name: g.to(own_types[name]) for name, g in gradients.items()}
    buffers = totals.mean_buffers(learner)
    loss = totals.loss / share
    if not outcomes:
        return gradients, Outcome(loss.to(next(learner.parameters()).dtype), None, buffers)
    own = outcomes[0]
    if len(outcomes) > 1:
        own = tree_map(lambda *xs: torch.cat(xs), own, *outcomes[1:])
    return gradients, Outcome(loss.to(own.loss.dtype), own.prediction, buffers, own.metrics)


def _sums(
    learner: Learner, batch: Task, strategy: str, workers: int, seeds: Sequence[int], precision: str
) -> tuple[Gradients, Outcome]:
    """The sum of the task gradients, and the outcomes per task."""
    recording, eager = _COMPILING.get(strategy) or _GRAPHING.get(strategy), strategy
    if recording is not None:
        record, eager = recording
        done = record(learner, batch, workers, precision)
        if done is not None:
            return done
    if eager == "vmap" and learner not in _NOT_MAPPED:
        try:
            return _eager(learner, batch, eager, workers, seeds, precision)
        except (MetacortexError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # an operation without a rule for vmap; what is wrong in itself fails again below
            _NOT_MAPPED[learner] = first_line(error)
        if recording is None:
            warnings.warn(
                f"strategy 'vmap' computes the meta-gradient of '{learner.name}' one task after the other: the model "
                f"cannot be computed for all tasks at once ({_NOT_MAPPED[learner]})",
                MappingWarning,
                stacklevel=4,
            )
    return _eager(learner, batch, "loop" if learner in _NOT_MAPPED else eager, workers, seeds, precision)


def _eager(
    learner: Learner, batch: Task, strategy: str, workers: int, seeds: Sequence[int], precision: str
) -> tuple[Gradients, Outcome]:
    device = batch.query.targets.device

    def compute(learner: Learner, batch: Task, seeds: Sequence[int]) -> tuple[Gradients, Outcome]:
        with autocasting(precision, device):  # a setting of each thread
            return _STRATEGIES[strategy](learner, batch, seeds)

    with attention_by_formula():
        if workers == 1:
            return compute(learner, batch, seeds)
        if seeds:
            torch.manual_seed(seeds[0])
        return spread(compute, learner, batch, workers)


_EVALUATIONS = Replays()


def evaluate_tasks(learner: Learner, batch: Task, *, precision: str = "float32", replay: bool = False) -> Outcome:
    """Adapt to each task and score its queries; no graph is kept, nothing of the learner changes.

    Args:
        learner: put into evaluation mode for the duration.
        batch: tasks stacked along a leading axis, on the learner's device.
        precision: of convolutions and matrix products, see `metacortex.engine.precision.PRECISIONS`.
        replay: on a GPU, record a CUDA graph where that can be, which pays from a few batches of one shape on.

    Returns:
        An `Outcome` with ``loss``, ``prediction`` and ``metrics`` per task ``[T, ...]``.
    """
    device = batch.query.targets.device
    precision = usable_precision(precision, device, learner)

    def compute(learner: Learner, batch: Task) -> Outcome:
        with autocasting(precision, device):
            outcomes = [learner.loss(task) for task in unstack_tasks(batch)]
        stacked = tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])
        return Outcome(stacked.loss, stacked.prediction, {}, stacked.metrics)

    tasks = batch.without_info()
    with evaluating(learner), torch.no_grad(), fused_kernels(), rounding(precision, device):
        done = _EVALUATIONS(compute, learner, tasks, precision) if replay and device.type == "cuda" else None
        return compute(learner, tasks) if done is None else done
