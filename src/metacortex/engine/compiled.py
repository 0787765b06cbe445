"""Strategies that compile the meta-gradient: recorded as one graph, made into machine code once.

Compiling takes seconds for a small perceptron and a minute or more for a convolutional network, so it
pays in long runs only; PyTorch keeps the machine code in a cache on disk for the next one. Whatever cannot
be compiled (or does not give the same gradient when it is) is computed without, after one warning that says why.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.fx import GraphModule

from metacortex.engine.agreement import differs
from metacortex.engine.capture import Captured, Result, Signature, capture, signature
from metacortex.engine.graphs import Replays, agree, in_streams
from metacortex.engine.precision import twice_differentiable
from metacortex.errors import LearnerError
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.task import Task, unstack_tasks
from metacortex.tree import tree_map

__all__ = ["CompileReport", "CompileWarning", "Compiling", "compile_report", "keep_machine_code"]

_SHAPES = 8
"""Graphs kept for one learner; tasks of ever new shapes are not worth compiling."""


class CompileWarning(UserWarning):
    """A meta-gradient is computed without compiling."""


@dataclass
class CompileReport:
    """What compiling did for a learner.

    Attributes:
        seconds: spent recording, compiling and checking.
        graphs: number of graphs compiled.
        operations: of the largest graph.
        reason: why the meta-gradient is computed without compiling; ``None`` where it is compiled.
    """

    seconds: float = 0.0
    graphs: int = 0
    operations: int = 0
    reason: str | None = None


@dataclass
class _Kept:
    report: CompileReport = field(default_factory=CompileReport)
    graphs: dict[Signature, Captured | None] = field(default_factory=dict)


_KEPT: dict[str, WeakKeyDictionary[Learner, _Kept]] = {}


def compile_report(learner: Learner, strategy: str) -> CompileReport:
    """What a compiling strategy has done for a learner so far."""
    kept = _KEPT.get(strategy, {}).get(learner)
    return CompileReport() if kept is None else replace(kept.report)


def keep_machine_code(folder: Path) -> None:
    """Keep compiled code in a folder that outlives a restart, unless the user has chosen one.

    PyTorch's default is a folder for temporary files.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


class Compiling:
    """A strategy that runs another one, compiled.

    Args:
        name: under which it is registered.
        eager: from a learner and a batch of tasks to the sum of the gradients and the outcomes; also what is
            fallen back to.
        batched: record `eager` for the whole batch; else for one task, run on one after the other (which keeps graphs
            small where vmap would only turn convolutions into slower grouped ones).
    """

    def __init__(self, name: str, eager: Callable[[Learner, Task], Result], *, batched: bool) -> None:
        self.name, self.eager, self.batched = name, eager, batched
        self._replays = Replays()
        _KEPT.setdefault(name, WeakKeyDictionary())

    def __call__(
        self, learner: Learner, batch: Task, workers: int = 1, precision: str = "float32"
    ) -> tuple[Gradients, Outcome] | None:
        """Sum of the task gradients and outcomes per task ``[T, ...]``; ``None`` where it cannot be compiled."""
        tasks = batch.without_info()
        part = tasks if self.batched else tree_map(itemgetter(0), tasks)
        graph = self._graph(learner, part, precision)
        if graph is None:
            return None
        if tasks.query.targets.is_cuda:
            run = graph if self.batched else partial(in_streams, graph)
            done = self._replays(run, learner, tasks, precision, partial(agree, precision=precision))
            return run(learner, tasks) if done is None else done
        if self.batched:
            return graph(learner, tasks)
        total, outcomes = _in_turn(graph, learner, unstack_tasks(tasks), workers)
        return total, tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])

    def _graph(self, learner: Learner, task: Task, precision: str) -> Captured | None:
        kept = _KEPT[self.name].setdefault(learner, _Kept())
        key = (*signature(learner, task), precision)
        if key not in kept.graphs:
            kept.graphs[key] = self._compiled(learner, task, kept, precision)
        return kept.graphs[key]

    def _compiled(self, learner: Learner, task: Task, kept: _Kept, precision: str) -> Captured | None:
        report, began = kept.report, time.perf_counter()
        if report.reason is not None:
            return None
        try:
            if report.graphs == _SHAPES:
                raise LearnerError(f"its tasks have more than {_SHAPES} different shapes")
            graph = self._checked(learner, task, precision)
        except LearnerError as error:
            report.reason = str(error)
            warnings.warn(
                f"strategy '{self.name}' computes the meta-gradient of '{learner.name}' without compiling: {error}",
                CompileWarning,
                stacklevel=4,
            )
            return None
        finally:
            report.seconds += time.perf_counter() - began
        report.graphs += 1
        report.operations = max(report.operations, graph.operations)
        return graph

    def _checked(self, learner: Learner, task: Task, precision: str) -> Captured:
        device = task.query.targets.device

        def function(learner: Learner, task: Task) -> Result:
            with twice_differentiable(precision, device):
                return self.eager(learner, task) if self.batched else learner.task_gradient(task)

        recorded = capture(function, learner, task)
        try:
            compiled, got = _tried(recorded, learner, task, cpp_wrapper=device.type == "cpu")
        except Exception as error:  # compilers fail in many ways
            raise LearnerError(_compiler_failed(error)) from error
        by = differs(got[0], function(learner, task)[0], precision)
        if by is not None:
            raise LearnerError(f"the compiled gradient differs by {by} from the one that is not compiled")
        return compiled


def _machine_code(recorded: Captured, cpp_wrapper: bool) -> Callable[..., list[torch.Tensor]]:
    # The function alone: a module is called through layers of Python.
    run = recorded.run.forward if isinstance(recorded.run, GraphModule) else recorded.run
    options: dict[str, Any] | None = {"cpp_wrapper": True} if cpp_wrapper else None
    return torch.compile(run, fullgraph=True, dynamic=False, options=options)


def _tried(recorded: Captured, learner: Learner, task: Task, *, cpp_wrapper: bool) -> tuple[Captured, Result]:
    """The compiled form of what was recorded, and what it gives for the task.

    With ``cpp_wrapper`` kernels are called from C++ and not from Python, which takes less time, also to compile. Where
    that fails it is done without.
    """
    compiled = replace(recorded, run=_machine_code(recorded, cpp_wrapper))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PyTorch's compiler says of its own parts
            return compiled, compiled(learner, task)
    except Exception:
        if not cpp_wrapper:
            raise
        return _tried(recorded, learner, task, cpp_wrapper=False)


def _compiler_failed(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", ""))
    # The first line of some errors only names the compiler.
    reason = next((line for line in lines if not line.startswith("backend=")), type(error).__name__)
    return (
        f"the compiler failed ({reason}); PyTorch needs a C++ compiler, and its "
        f"cache {folder} must be writable and whole: delete it if a process was killed while compiling"
    )


def _in_turn(graph: Captured, learner: Learner, tasks: list[Task], workers: int) -> tuple[Gradients, list[Outcome]]:
    """Run a graph on tasks, shared by threads; sums are taken in the order of the shares."""
    shares = min(workers, len(tasks))
    cuts = [len(tasks) * i // shares for i in range(shares + 1)]

    def run(share: tuple[int, int]) -> tuple[Gradients, list[Outcome]]:
        total: Gradients = {}
        outcomes = []
        with torch.no_grad():
            for task in tasks[slice(*share)]:
                gradients, outcome = graph(learner, task)
                total = gradients if not total else {name: total[name] + g for name, g in gradients.items()}
                outcomes.append(outcome)
        return total, outcomes

    if shares == 1:
        return run((0, len(tasks)))
    with ThreadPoolExecutor(shares) as pool:
        done = list(pool.map(run, pairwise(cuts)))
    total = done[0][0]
    for gradients, _ in done[1:]:
        total = {name: total[name] + gradients[name] for name in total}
    return total, [outcome for _, outcomes in done for outcome in outcomes]
