"""A meta-gradient in pieces that fit into memory: a few tasks at a time, a few queries at a time.

Tasks are independent of each other, so chunks of them change nothing but rounding. Queries are where a
learner's loss is a mean over them and the answer to one does not look at the others:

    L_i(φ) = Σ_c n_c/n L_ic(φ),   dL_i/dφ = Σ_c n_c/n dL_ic/dφ

with n_c of the n queries in chunk c. Each chunk adapts anew, so memory is bought with time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import starmap

import torch
from torch import Tensor, nn

from metacortex.engine.totals import add_up
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.learners.objective import CrossEntropy, GaussianLikelihood, MeanSquaredError, TokenCrossEntropy
from metacortex.nn.norm import BatchNorm
from metacortex.task import Examples, Task
from metacortex.tree import tree_map

__all__ = ["check_query_chunks", "in_query_chunks", "task_chunks"]

Part = tuple[Gradients, Outcome]

_MEANS_OVER_ROWS = (CrossEntropy, MeanSquaredError, GaussianLikelihood)


def task_chunks(batch: Task, size: int, seeds: Sequence[int] = ()) -> Iterator[tuple[Task, Sequence[int]]]:
    """The tasks of a batch in chunks of ``size`` (0: all at once), each with the seeds of its tasks."""
    count = batch.support.targets.shape[0]
    if not size or size >= count:
        yield batch, seeds
        return
    tasks = batch.without_info()
    for first in range(0, count, size):
        yield tree_map(lambda x, a=first: x[a : a + size], tasks), seeds[first : first + size]


def check_query_chunks(learner: Learner) -> None:
    """Refuse learners whose meta-gradient is not a mean over queries that know nothing of each other.

    Args:
        learner: in the mode in which its gradient will be taken.

    Raises:
        SettingsError: saying why, for learners with an outer gradient that is no derivative of the query loss,
            with an objective that is no mean, and with batch norm that takes statistics of the queries.
    """
    if not learner.exact_gradient:
        raise _refused(learner, "its outer gradient is not the derivative of the query loss")
    if not isinstance(learner.objective, (*_MEANS_OVER_ROWS, TokenCrossEntropy)):
        raise _refused(learner, f"its objective {type(learner.objective).__name__} is not known to be a mean")
    norm = getattr(getattr(learner, "body", None), "norm", None)
    # A pre-training batch has no support set whose statistics could be taken.
    fixed = norm == "support" and learner.trains_on == "episodes"
    if not fixed and any(isinstance(m, (BatchNorm, nn.modules.batchnorm._BatchNorm)) for m in learner.modules()):
        how = f"with norm '{norm}'" if norm else "as it stands"
        raise _refused(
            learner, f"{how} its batch norm takes statistics of all queries together (norm 'support' does not)"
        )


def _refused(learner: Learner, why: str) -> SettingsError:
    return SettingsError(
        f"micro_queries is not exact for '{learner.name}': {why}; set it to 0 and use fewer tasks at once "
        "(micro_tasks), strategy loop, or fewer queries"
    )


def in_query_chunks(compute: Callable[[Task], Part], learner: Learner, batch: Task, size: int) -> Part:
    """Summed gradients and outcomes per task of a batch, computed from chunks of the queries.

    Args:
        compute: from a batch of tasks to the same, as an engine strategy does.
        learner: see `check_query_chunks`.
        batch: tasks stacked along a leading axis ``[T, ...]``.
        size: queries of a task in a chunk; 0: all.

    Raises:
        LearnerError: for a learner that gives new values for buffers, which would depend on the chunks.
    """
    count = batch.query.targets.shape[1]
    if not size or size >= count:
        return compute(batch)
    chunks = [_queries(batch, first, min(first + size, count)) for first in range(0, count, size)]
    amounts = torch.stack([_amount(learner, chunk.query) for chunk in chunks])  # [chunks, T]
    shares = amounts / amounts.sum(0).clamp_min(1)
    if shares.shape[1] > 1 and not torch.equal(shares, shares[:, :1].expand_as(shares)):
        # Ragged tasks have shares of their own, so their gradients may not be summed before.
        return _joined([in_query_chunks(compute, learner, task, size) for task, _ in task_chunks(batch, 1)])
    return _weighted([compute(chunk) for chunk in chunks], shares, learner)


def _queries(batch: Task, first: int, end: int) -> Task:
    query = batch.query
    cut = Examples(
        tree_map(lambda x: x[:, first:end], query.inputs),
        query.targets[:, first:end],
        None if query.mask is None else query.mask[:, first:end],
        query.classes,
    )
    return replace(batch, query=cut, info=None)


def _amount(learner: Learner, query: Examples) -> Tensor:
    """``[T]``: over how many rows, or tokens, the loss of each task is a mean."""
    if isinstance(learner.objective, TokenCrossEntropy):
        real = query.targets != learner.objective.padding  # [T, N, L']
        return (real if query.mask is None else real & query.mask[..., None]).sum((1, 2)).double()
    if query.mask is None:
        return torch.full(query.targets.shape[:1], float(query.targets.shape[1]), dtype=torch.float64)
    return query.mask.sum(1).double()


def _weighted(parts: list[Part], shares: Tensor, learner: Learner) -> Part:
    total: Gradients = {}
    for (gradients, outcome), share in zip(parts, shares[:, 0].tolist(), strict=True):
        for name, x in outcome.buffers.items():
            # Whole numbers count meta-steps.
            if x.is_floating_point():
                raise LearnerError(
                    f"'{learner.name}' gives new values for {name}, which would depend on how queries are cut: "
                    "set micro_queries to 0"
                )
        add_up(total, {name: share * g for name, g in gradients.items()})
    outcomes = [outcome for _, outcome in parts]

    def mean(*values: Tensor) -> Tensor:
        terms = starmap(lambda share, x: share.to(x.device, x.dtype) * x, zip(shares, values, strict=True))
        return torch.stack(list(terms)).sum(0)

    loss = mean(*(o.loss for o in outcomes))
    metrics = {name: mean(*(o.metrics[name] for o in outcomes)) for name in outcomes[0].metrics}
    prediction = tree_map(lambda *xs: torch.cat(xs, 1), *(o.prediction for o in outcomes))
    return total, Outcome(loss, prediction, outcomes[0].buffers, metrics)


def _joined(parts: list[Part]) -> Part:
    total: Gradients = {}
    for gradients, _ in parts:
        add_up(total, gradients)
    return total, tree_map(lambda *xs: torch.cat(xs), *(outcome for _, outcome in parts))
