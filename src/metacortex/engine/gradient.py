"""The meta-gradient of a batch of tasks, by one of several strategies.

    dL/dφ = Σ_i dL_i/dφ   (or the mean over the tasks)

``loop`` is the reference: one task after the other, plain and eager. Every other strategy must
give the same gradient. ``vmap`` computes all tasks at once. ``compile`` is ``loop`` with the gradient of one task as
machine code, ``compile-vmap`` the same for all tasks at once, see `metacortex.engine.compiled`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad, vmap

from metacortex.engine.compiled import Compiling
from metacortex.engine.workers import spread
from metacortex.errors import LearnerError, SettingsError, unknown_name
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Task, unstack_tasks
from metacortex.tree import tree_map

__all__ = ["Reduction", "evaluate_tasks", "meta_gradient", "strategy_names"]

Reduction = Literal["mean", "sum"]
Strategy = Callable[[Learner, Task], tuple[Gradients, Outcome]]


def loop(learner: Learner, batch: Task) -> tuple[Gradients, Outcome]:
    """Sum of the task gradients, one task after the other."""
    total: Gradients = {}
    outcomes = []
    with fused_kernels():
        for task in unstack_tasks(batch):
            gradients, outcome = learner.task_gradient(task.without_info())
            total = gradients if not total else {name: total[name] + g for name, g in gradients.items()}
            outcomes.append(outcome)
    return total, tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])


def vectorised(learner: Learner, batch: Task) -> tuple[Gradients, Outcome]:
    """Sum of the task gradients with `torch.func.vmap` over the tasks."""
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

_COMPILING = {
    "compile": (Compiling("compile", loop, batched=False), "loop"),
    "compile-vmap": (Compiling("compile-vmap", vectorised, batched=True), "vmap"),
}


def strategy_names(*, compiling: bool = False) -> list[str]:
    """Names of the strategies, sorted; with or without those that compile."""
    return sorted(_STRATEGIES | _COMPILING if compiling else _STRATEGIES)


def meta_gradient(
    learner: Learner, batch: Task, *, strategy: str = "loop", reduction: Reduction = "mean", workers: int = 1
) -> tuple[Gradients, Outcome]:
    """dL/dφ over a batch of tasks.

    Args:
        learner: in training mode for meta-training.
        batch: tasks stacked along a leading axis ``[T, ...]``, see `metacortex.task.stack_tasks`.
        strategy: see `strategy_names`.
        reduction: ``"mean"`` or ``"sum"`` over the tasks, of loss and gradient alike.
        workers: threads that share the tasks, see `metacortex.engine.workers.spread`.

    Returns:
        The gradient by parameter name, and an `Outcome`: ``loss`` reduced; ``prediction`` and
        ``metrics`` per task ``[T, ...]``; ``buffers`` averaged over the tasks, counters as they are. All detached.

    Raises:
        SettingsError: for an unknown strategy or reduction.
        LearnerError: for a learner without parameters to learn.
    """
    if strategy not in strategy_names(compiling=True):
        raise unknown_name("strategy", strategy, strategy_names(compiling=True))
    if reduction not in ("mean", "sum"):
        raise unknown_name("reduction", reduction, ("mean", "sum"))
    if not learner.meta_parameters():
        raise LearnerError(f"learner '{learner.name}' has no parameters to learn")
    if workers < 1:
        raise SettingsError(f"workers must be at least 1, got {workers}")
    gradients, outcomes = _sums(learner, batch, strategy, workers)
    count = outcomes.loss.shape[0]
    loss = outcomes.loss.sum()
    if reduction == "mean":
        gradients, loss = {name: g / count for name, g in gradients.items()}, loss / count
    # Whole numbers count something, the same for every task.
    buffers = {n: x.mean(0) if x.is_floating_point() else x[0] for n, x in outcomes.buffers.items()}
    return gradients, Outcome(loss, outcomes.prediction, buffers, outcomes.metrics)


def _sums(learner: Learner, batch: Task, strategy: str, workers: int) -> tuple[Gradients, Outcome]:
    """The sum of the task gradients, and the outcomes per task."""
    if strategy in _COMPILING:
        compiling, strategy = _COMPILING[strategy]
        done = compiling(learner, batch, workers)
        if done is not None:
            return done
    if workers == 1:
        return _STRATEGIES[strategy](learner, batch)
    return spread(_STRATEGIES[strategy], learner, batch, workers)


def evaluate_tasks(learner: Learner, batch: Task) -> Outcome:
    """Adapt to each task and score its queries; no graph is kept, nothing of the learner changes.

    Args:
        learner: put into evaluation mode for the duration.
        batch: tasks stacked along a leading axis.

    Returns:
        An `Outcome` with ``loss``, ``prediction`` and ``metrics`` per task ``[T, ...]``.
    """
    with evaluating(learner), torch.no_grad(), fused_kernels():
        outcomes = [learner.loss(task.without_info()) for task in unstack_tasks(batch)]
    stacked = tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])
    return Outcome(stacked.loss, stacked.prediction, {}, stacked.metrics)
