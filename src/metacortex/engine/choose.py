"""Which strategy is fastest for a learner, its tasks and the length of a run: measured, not guessed."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from metacortex.engine.compiled import CompileWarning, compile_report
from metacortex.engine.devices import device_of, random_devices
from metacortex.engine.gradient import MappingWarning, meta_gradient, strategy_names
from metacortex.engine.graphs import GraphWarning
from metacortex.errors import first_line
from metacortex.learners.base import Learner
from metacortex.task import Task

__all__ = ["Choice", "choose_strategy"]

_COMPILING_TAKES = 120.0
"""Seconds that compiling may take, the checks included (65 to 174 were seen for a Conv4 with five inner steps)."""

_WORTH = 10.0
"""Compiling is tried in runs at least this many times as long."""


@dataclass(frozen=True)
class Choice:
    """What was measured, and what follows.

    Attributes:
        strategy: the fastest.
        seconds: strategy -> seconds per meta-gradient.
        compiling: seconds that were spent compiling.
        reasons: strategy -> why it was not measured.
    """

    strategy: str
    seconds: dict[str, float]
    compiling: float = 0.0
    reasons: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for ``run.json``."""
        return asdict(self)

    def __str__(self) -> str:
        measured = ", ".join(
            f"{name} {1000 * s:.3g} ms" for name, s in sorted(self.seconds.items(), key=lambda x: x[1])
        )
        return f"strategy {self.strategy} ({measured} a step)"


def choose_strategy(
    learner: Learner,
    batch: Task,
    *,
    workers: int = 1,
    steps: int = 0,
    seconds: float = 0.0,
    repeats: int = 3,
    precision: str = "float32",
) -> Choice:
    """Measure every strategy that can pay on a batch of the run; the learner is left as it is.

    Args:
        learner: in training mode.
        batch: a meta-batch of the run.
        workers: threads that share the tasks.
        steps: length of the run in meta-steps; or
        seconds: its length in seconds. Compiling is tried where the run is long enough to pay for it.
        repeats: measurements of each, after a first that is not counted; the fastest counts.
        precision: of the run.

    Returns:
        The `Choice`; a strategy that fails for this learner is not taken.
    """
    found: dict[str, float] = {}
    reasons: dict[str, str] = {}
    device = device_of(learner)
    with torch.random.fork_rng(devices=random_devices(device)), warnings.catch_warnings():
        warnings.simplefilter("error", GraphWarning)
        warnings.simplefilter("error", MappingWarning)
        for name in strategy_names(graphs=device.type == "cuda"):
            try:
                found[name] = _time(learner, batch, name, workers, repeats, precision)
            except Exception as error:  # e.g. an operation without a rule for vmap
                reasons[name] = first_line(error)
        if not found:
            meta_gradient(learner, batch, workers=workers, precision=precision)  # says what is wrong
        fastest = min(found, key=lambda name: found[name])
        if max(seconds, steps * found[fastest]) < _WORTH * _COMPILING_TAKES:
            reasons["compile"] = "the run is too short for compiling to pay"
            return Choice(fastest, found, reasons=reasons)
        name = "compile-vmap" if fastest.endswith("vmap") else "compile"
        warnings.simplefilter("ignore", CompileWarning)
        took = _time(learner, batch, name, workers, repeats, precision)
    report = compile_report(learner, name)
    if report.reason is None:
        found[name] = took
    else:
        reasons[name] = report.reason
    return Choice(min(found, key=lambda name: found[name]), found, report.seconds, reasons)


def _time(learner: Learner, batch: Task, strategy: str, workers: int, repeats: int, precision: str) -> float:
    taken = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        meta_gradient(learner, batch, strategy=strategy, workers=workers, precision=precision)
        if batch.query.targets.is_cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
