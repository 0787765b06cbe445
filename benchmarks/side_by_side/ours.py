"""metacortex, by each of its strategies."""

from __future__ import annotations

import os
import warnings
from functools import partial

import torch
from torch import nn

from benchmarks.side_by_side.case import NOT_ASKED, Batch, Case, Contender, Gradients, Step, Unable
from metacortex.engine.compiled import compile_report
from metacortex.engine.gradient import meta_gradient
from metacortex.learners.base import Learner
from metacortex.learners.gradient.anil import ANIL
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.metric.r2d2 import R2D2
from metacortex.learners.objective import CrossEntropy, MeanSquaredError
from metacortex.task import Examples, Task

__all__ = ["OURS", "RIDGE", "SCALE", "compile_seconds", "learner_of", "task_of"]

RIDGE, SCALE = 1.0, 10.0
"""λ and s of R2D2; it has no intercept here."""

ONE_WORKER, ROUNDED = "metacortex loop, one worker", "metacortex loop, bf16"

_COMPILED: dict[tuple[str, str], float] = {}


def learner_of(case: Case, model: nn.Module) -> Learner:
    """The learner of a case; statistics of batch norms are those of the batch at hand, as in the peers."""
    if case.learner == "protonet":
        return ProtoNet(model.backbone, norm="query-batch")  # type: ignore[arg-type]
    if case.learner == "r2d2":
        return R2D2(model.backbone, RIDGE, SCALE, intercept=False, norm="query-batch")  # type: ignore[arg-type]
    values = case.batch().support_targets.is_floating_point()
    chosen = {"norm": "query-batch", "order": case.order, "objective": MeanSquaredError() if values else CrossEntropy()}
    kind = ANIL if case.learner == "anil" else MAML
    return kind(model, case.inner_lr, case.steps, unroll=case.unroll, **chosen)  # type: ignore[arg-type]


def task_of(batch: Batch) -> Task:
    """The tasks of a batch, stacked."""
    classes = None
    if not batch.support_targets.is_floating_point():
        classes = torch.ones(len(batch), int(batch.support_targets.max()) + 1, dtype=torch.bool)
    return Task(
        Examples(batch.support, batch.support_targets, classes=classes),
        Examples(batch.query, batch.query_targets, classes=classes),
    )


def compile_seconds(case: Case, contender: str) -> float:
    """Seconds that compiling took for a case in this process; 0 for what does not compile."""
    return _COMPILED.get((case.name, contender), 0.0)


def own_model(case: Case, model: nn.Module) -> nn.Module:
    """metacortex's network with the weights of the stock one; what the head of a learner lacks is left out."""
    if case.own is None:
        return model
    own = case.own().to(next(model.parameters()).dtype)
    missing, unexpected = own.load_state_dict(model.state_dict(), strict=False)
    if unexpected or any(name in dict(own.named_parameters()) for name in missing):
        raise RuntimeError(f"{case.name}: the networks differ in {[*missing, *unexpected]}")
    return own


def _prepare(strategy: str, stock: bool, name: str, case: Case, model: nn.Module, batch: Batch) -> Step:
    precision = "bf16" if name == ROUNDED else "float32"
    if precision == "bf16" and not (case.own is not None and case.goal):
        raise Unable(NOT_ASKED)
    compiling, double = strategy.startswith("compile"), next(model.parameters()).dtype == torch.float64
    if compiling and not double and strategy not in case.compiled:
        raise Unable(NOT_ASKED)
    if stock and case.own is None:
        raise Unable("the same as without: the case has no network of metacortex's")
    learner, tasks = learner_of(case, model if stock else own_model(case, model)).train(), task_of(batch)
    workers = min(_cores(), len(batch)) if strategy in ("loop", "compile") and name != ONE_WORKER else 1

    def step() -> Gradients:
        found = meta_gradient(learner, tasks, strategy=strategy, workers=workers, precision=precision)[0]
        added = "backbone." if case.learner in ("protonet", "r2d2") else ""
        return {added + n.removeprefix("body.model."): g for n, g in found.items()}

    if compiling:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step()
        report = compile_report(learner, strategy)
        if report.reason is not None:
            raise Unable(report.reason)
        _COMPILED[case.name, name] = report.seconds
    return step


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _contender(
    strategy: str, settings: str, *, stock: bool = False, one_thread: bool = True, name: str = ""
) -> Contender:
    name = name or f"metacortex {strategy}" + (", stock layers" if stock else "")
    prepare = partial(_prepare, strategy, stock, name)
    return Contender(name, True, settings, prepare, one_thread, rounded=name == ROUNDED)


OURS = (
    _contender("loop", "task by task, a thread per core"),
    _contender("loop", "likewise, on the network as the peers have it", stock=True),
    _contender("loop", "task by task, the operations share the cores", one_thread=False, name=ONE_WORKER),
    _contender("vmap", "all tasks at once", one_thread=False),
    _contender("loop", "task by task, a thread per core, convolutions and products in bfloat16", name=ROUNDED),
    _contender("compile", "the gradient of one task as machine code, a thread per core"),
    _contender("compile-vmap", "the gradient of all tasks as machine code", one_thread=False),
)
