"""Run a comparison: train every learner, test all on the same tasks, measure what else counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metacortex.comparison.measure import adaptation_memory, adaptation_seconds, state_bytes
from metacortex.comparison.plan import Cell, ComparisonPlan
from metacortex.errors import DataError, DivergedError, LearnerError, RunError
from metacortex.evaluation.intervals import Interval
from metacortex.evaluation.results import EvaluationResult, compare, load_result, result_from_json
from metacortex.evaluation.run import elsewhere, evaluate_run, load_run
from metacortex.learners.base import Learner
from metacortex.runs.build import build_learner, describe_learner, with_size
from metacortex.runs.domain import Domain, open_domain
from metacortex.runs.files import write_file
from metacortex.settings import TaskSettings
from metacortex.training.progress import TrainingEvent
from metacortex.training.run import train

__all__ = ["COMPARISON_VERSION", "Comparison", "Entrant", "load_comparison", "run_comparison"]

COMPARISON_VERSION = 2

Tell = Callable[[str, float, str], None]
"""Called with (learner, share of its work done, what it does)."""


@dataclass(frozen=True)
class Entrant:
    """What was found of one learner.

    Attributes:
        learner: registry name.
        results: score on the fixed tasks of each cell; a cell that it cannot serve is left out.
        train_seconds: time of training.
        steps: meta-steps done.
        parameters: number of meta-parameters.
        adapt_seconds: median time of one adaptation, at the first cell.
        adapt_bytes: peak memory of tensors while adapting to a task of the first cell.
        state_bytes: what is kept of a task.
        norm: batch-norm policy, ``None`` without one.
        refused: cell -> why the learner cannot serve it.
    """

    learner: str
    results: dict[Cell, EvaluationResult]
    train_seconds: float
    steps: int
    parameters: int
    adapt_seconds: float
    adapt_bytes: int
    state_bytes: int
    norm: str | None
    refused: dict[Cell, str]


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        plan: what was asked for.
        entrants: in the order of the plan.
        path: the folder.
    """

    plan: ComparisonPlan
    entrants: tuple[Entrant, ...]
    path: Path

    @property
    def measured(self) -> list[Entrant]:
        """Those that have any result."""
        return [entrant for entrant in self.entrants if entrant.results]

    def entrant(self, learner: str) -> Entrant:
        """What was found of a learner."""
        return next(entrant for entrant in self.entrants if entrant.learner == learner)

    def advantage(self, learner: str, cell: Cell) -> Interval | None:
        """Paired difference to the yardstick on the same tasks; ``None`` where one of them has no result."""
        first, second = (self.entrant(name).results.get(cell) for name in (learner, self.plan.yardstick))
        return None if first is None or second is None else compare(first, second)

    def to_json(self) -> dict[str, Any]:
        """The documented object: see `metacortex.comparison.table`."""
        return {
            "version": COMPARISON_VERSION,
            "plan": self.plan.to_json(),
            "yardstick": self.plan.yardstick,
            "learners": [self._row(entrant) for entrant in self.entrants],
        }

    def _row(self, entrant: Entrant) -> dict[str, Any]:
        cells = []
        for cell, result in entrant.results.items():
            difference = self.advantage(entrant.learner, cell)
            cells.append(
                {
                    "data": cell.data,
                    "shot": cell.shot,
                    "metric": result.metric,
                    "score": result.mean,
                    "ci95": result.ci95,
                    "tasks": len(result.scores),
                    "ece": result.diagnosis.get("ece"),
                    "difference": None if difference is None else difference.mean,
                    "difference_ci95": None if difference is None else difference.half,
                    "protocol": result.protocol,
                    "result": None if result.path is None else str(result.path),
                }
            )
        return {
            "learner": entrant.learner,
            "norm": entrant.norm,
            "parameters": entrant.parameters,
            "train_seconds": entrant.train_seconds,
            "steps": entrant.steps,
            "adapt_seconds": entrant.adapt_seconds,
            "adapt_bytes": entrant.adapt_bytes,
            "state_bytes": entrant.state_bytes,
            "cells": cells,
            "refused": {str(cell): why for cell, why in entrant.refused.items()},
        }


def run_comparison(plan: ComparisonPlan, out: Path | str, tell: Tell = lambda who, share, what: None) -> Comparison:
    """Train and test every learner of a plan; what an earlier call finished is not done again, and stays.

    A learner whose training diverges has no results and is listed as refused; the others go on, and it is tried
    again when the comparison is continued, maybe with other settings of its own.

    Args:
        plan: what to compare.
        out: folder of the comparison; each learner's run is in ``runs/LEARNER``.
        tell: told of the progress.

    Returns:
        The comparison, of the learners asked for and of those measured before.

    Raises:
        RunError: if the folder holds another comparison, or cannot be used.
        SettingsError: for settings or data that a learner cannot use, before anything is trained.
        DataError: if the test tasks of a column cannot be drawn, before anything is trained.
    """
    folder = Path(out)
    domains: dict[str, Domain] = {}
    _check_learners(plan, domains)
    _check_cells(plan, domains)
    plan = _claim(folder, plan)
    entrants = tuple(_enter(learner, plan, folder, tell) for learner in plan.learners)
    return Comparison(plan, entrants, folder)


def load_comparison(path: Path | str) -> Comparison:
    """Read a comparison that `run_comparison` made.

    Raises:
        RunError: if there is none, it is not finished, or it is damaged.
    """
    folder = Path(path)
    plan = _stored(folder)
    if plan is None:
        raise RunError(f"{folder} holds no comparison: make one with `metacortex compare --out {folder}`")
    return Comparison(plan, tuple(_read(folder / "learners" / f"{name}.json") for name in plan.learners), folder)


def _opened(settings: TaskSettings, domains: dict[str, Domain]) -> Domain:
    """A source, opened once however many learners and columns it serves."""
    if repr(settings) not in domains:
        domains[repr(settings)] = open_domain(settings)
    return domains[repr(settings)]


def _check_learners(plan: ComparisonPlan, domains: dict[str, Domain]) -> None:
    """Build every learner once."""
    for learner in plan.learners:
        settings = with_size(plan.settings_of(learner))
        build_learner(describe_learner(settings, _opened(settings.data, domains)))


def _check_cells(plan: ComparisonPlan, domains: dict[str, Domain]) -> None:
    settings = with_size(plan.settings_of(plan.learners[0]))
    shape: tuple[int, ...] | None = None
    for data in dict.fromkeys(cell.data for cell in plan.cells):
        domain = _opened(elsewhere(settings, data, None, {}).data, domains)
        shape = shape or domain.input_shape
        if domain.input_shape != shape:
            raise DataError(
                f"'{plan.data}' has inputs of shape {shape}, '{data}' of {domain.input_shape}: "
                "transfer to data of the same size and channels"
            )
        for shot in plan.shots:
            tasks = domain.tasks("test", elsewhere(settings, data, None, {"data.shot": shot}).data)
            if hasattr(tasks, "count"):
                raise DataError(
                    f"'{data}' gives its tasks itself, whatever way and shots are asked for: test the runs of a "
                    f"comparison on it with `metacortex evaluate RUN --data {data}`"
                )


def _claim(folder: Path, plan: ComparisonPlan) -> ComparisonPlan:
    """The plan, with what was measured in the folder before; it is written down there."""
    before = _stored(folder)
    if before is None and folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no comparison: choose another --out")
    if before is not None:
        plan = _continued(folder, before, plan)
    (folder / "learners").mkdir(parents=True, exist_ok=True)
    write_file(folder / "plan.json", json.dumps(plan.to_json(), indent=1))
    return plan


def _continued(folder: Path, before: ComparisonPlan, plan: ComparisonPlan) -> ComparisonPlan:
    # What JSON holds: tuples have become lists there.
    old, new = (json.loads(json.dumps(p.to_json())) for p in (before, plan))
    measured = [name for name in before.learners if _measured(folder, name) is not None]
    changed = [key for key in new if key not in ("learners", "own", "reference") and old.get(key) != new[key]]
    changed += [f"settings of {n}" for n in measured if n in plan.learners and old["own"].get(n) != new["own"].get(n)]
    if changed:
        raise RunError(
            f"{folder} holds another comparison (different: {', '.join(changed)}): "
            "ask for the same one to continue it, or choose another --out"
        )
    for name in set(before.learners).difference(measured).intersection(plan.learners):
        if old["own"].get(name) != new["own"].get(name):
            shutil.rmtree(folder / "runs" / name, ignore_errors=True)  # begun with other settings, never finished
    kept = [name for name in before.learners if name in measured or name in plan.learners]
    return replace(
        plan,
        learners=tuple(dict.fromkeys([*kept, *plan.learners])),
        own={**{name: before.own[name] for name in measured if name in before.own}, **plan.own},
        reference=plan.reference or (before.reference if before.reference in kept else ""),
    )


def _stored(folder: Path) -> ComparisonPlan | None:
    path = folder / "plan.json"
    if not path.is_file():
        return None
    try:
        return ComparisonPlan.from_json(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error!r}") from error


def _enter(learner: str, plan: ComparisonPlan, folder: Path, tell: Tell) -> Entrant:
    known = _measured(folder, learner)
    if known is not None:
        return known

    def show(event: TrainingEvent) -> None:
        tell(learner, 0.8 * event.fraction, f"training, loss {event.loss:.3f}")

    try:
        run = train(plan.settings_of(learner), folder / "runs" / learner, resume=True, progress=show)
    except DivergedError as error:
        tell(learner, 1.0, f"given up: {error}")
        entrant = Entrant(learner, {}, 0.0, 0, 0, 0.0, 0, 0, None, dict.fromkeys(plan.cells, str(error)))
    else:
        if run.interrupted:
            raise KeyboardInterrupt
        entrant = _measure(run.learner, run.path, plan, tell, run.seconds, run.step)
    write_file(folder / "learners" / f"{learner}.json", json.dumps(_to_json(entrant, folder), indent=1))
    return entrant


def _measured(folder: Path, learner: str) -> Entrant | None:
    """What was found of a learner; ``None`` if it was not measured yet, or its training diverged."""
    path = folder / "learners" / f"{learner}.json"
    entrant = _read(path) if path.is_file() else None
    return None if entrant is None or not (entrant.results or entrant.train_seconds) else entrant


def _measure(learner: Learner, run: Path, plan: ComparisonPlan, tell: Tell, seconds: float, steps: int) -> Entrant:
    results: dict[Cell, EvaluationResult] = {}
    refused: dict[Cell, str] = {}
    loaded = load_run(run)
    device = loaded.settings.training.device
    for number, cell in enumerate(plan.cells):
        tell(learner.name, 0.8 + 0.2 * number / len(plan.cells), f"testing on {cell}")
        try:
            results[cell] = evaluate_run(run, cell.data, shot=cell.shot, tasks=plan.tasks, device=device)
        except LearnerError as error:
            refused[cell] = str(error)
    data, learner = loaded.settings.data, loaded.learner  # time and memory are those on a CPU
    tasks = open_domain(data).tasks("test", data)
    return Entrant(
        learner.name,
        results,
        seconds,
        steps,
        sum(p.numel() for p in learner.meta_parameters().values()),
        adaptation_seconds(learner, tasks),
        adaptation_memory(learner, tasks),
        state_bytes(learner, tasks),
        loaded.norm,
        refused,
    )


def _to_json(entrant: Entrant, folder: Path) -> dict[str, Any]:
    """With the results themselves: the runs may be used on, or deleted, and the folder moved."""
    cells = [
        {
            "data": cell.data,
            "shot": cell.shot,
            "path": None if result.path is None else str(result.path.relative_to(folder)),
            "result": result.to_json(),
        }
        for cell, result in entrant.results.items()
    ]
    refused = [{"data": cell.data, "shot": cell.shot, "why": why} for cell, why in entrant.refused.items()]
    plain = ("learner", "train_seconds", "steps", "parameters", "adapt_seconds", "adapt_bytes", "state_bytes", "norm")
    return {
        "version": COMPARISON_VERSION,
        **{key: getattr(entrant, key) for key in plain},
        "cells": cells,
        "refused": refused,
    }


def _result(path: Path, cell: dict[str, Any]) -> EvaluationResult:
    result = result_from_json(cell["result"], path)
    place = None if cell["path"] is None else path.parent.parent / cell["path"]
    return replace(result, path=place if place is not None and place.is_file() else None)


def _read(path: Path) -> Entrant:
    try:
        content = json.loads(path.read_bytes())
        version = content.pop("version")
        if version > COMPARISON_VERSION:
            raise RunError(f"{path} was written by a newer metacortex: update metacortex")
        cells, refused = content.pop("cells"), content.pop("refused")
        # Version 1 kept nothing but the places of the results.
        results = {
            Cell(c["data"], c["shot"]): load_result(c["result"]) if version == 1 else _result(path, c) for c in cells
        }
        return Entrant(
            results=results,
            refused={Cell(c["data"], c["shot"]): c["why"] for c in refused},
            **content,
        )
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; finish the comparison first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error!r}): delete it and run the comparison again") from error
