"""metacortex, by each of its strategies."""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import nn

from benchmarks.side_by_side.case import Batch, Case, Contender, Gradients, Step, Unable
from metacortex.engine.compiled import compile_report
from metacortex.engine.gradient import meta_gradient
from metacortex.learners.base import Learner
from metacortex.learners.gradient.anil import ANIL
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.objective import CrossEntropy, MeanSquaredError
from metacortex.task import Examples, Task

__all__ = ["OURS", "compile_seconds", "learner_of", "task_of"]

_COMPILED: dict[tuple[str, str], float] = {}


def learner_of(case: Case, model: nn.Module) -> Learner:
    """The learner of a case; statistics of batch norms are those of the batch at hand, as in the peers."""
    values = case.batch().support_targets.is_floating_point()
    chosen = {"norm": "query-batch", "order": case.order, "objective": MeanSquaredError() if values else CrossEntropy()}
    if case.learner == "protonet":
        return ProtoNet(model.backbone, norm="query-batch")  # type: ignore[arg-type]
    kind = ANIL if case.learner == "anil" else MAML
    return kind(model, case.inner_lr, case.steps, **chosen)  # type: ignore[arg-type]


def task_of(batch: Batch) -> Task:
    """The tasks of a batch, stacked."""
    classes = None
    if not batch.support_targets.is_floating_point():
        classes = torch.ones(len(batch), int(batch.support_targets.max()) + 1, dtype=torch.bool)
    return Task(
        Examples(batch.support, batch.support_targets, classes=classes),
        Examples(batch.query, batch.query_targets, classes=classes),
    )


def compile_seconds(case: Case, strategy: str) -> float:
    """Seconds that compiling took for a case; 0 for strategies that do not compile."""
    return _COMPILED.get((case.name, strategy), 0.0)


def _prepare(strategy: str, workers: int, case: Case, model: nn.Module, batch: Batch) -> Step:
    if strategy.startswith("compile") and next(model.parameters()).dtype == torch.float64:
        raise Unable("compiled code is checked against the same strategy without compiling when it is made")
    learner, tasks = learner_of(case, model).train(), task_of(batch)
    prefix = "body.model."

    def step() -> Gradients:
        found = meta_gradient(learner, tasks, strategy=strategy, workers=workers)[0]
        added = "backbone." if case.learner == "protonet" else ""
        return {added + n.removeprefix(prefix): g for n, g in found.items()}

    if strategy.startswith("compile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step()
        report = compile_report(learner, strategy)
        if report.reason is not None:
            raise Unable(report.reason)
        _COMPILED[case.name, strategy] = report.seconds
    return step


def _contender(strategy: str, settings: str, workers: int = 1) -> Contender:
    return Contender(f"metacortex {strategy}", True, settings, partial(_prepare, strategy, workers))


OURS = (
    _contender("loop", "task by task"),
    _contender("vmap", "all tasks at once"),
    _contender("compile", "the gradient of one task as machine code"),
    _contender("compile-vmap", "the gradient of all tasks as machine code"),
)
