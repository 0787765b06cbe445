"""Train the contenders on Glyphs, then test them on scripts and on handwriting never seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metacortex.data.sources import load_dataset
from metacortex.demo.picture import draw_task
from metacortex.demo.plan import CONTENDERS, Contender, settings_of
from metacortex.evaluation.evaluate import evaluate
from metacortex.evaluation.intervals import Interval
from metacortex.evaluation.results import EvaluationResult, compare
from metacortex.learners.base import Learner
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.training.progress import TrainingEvent
from metacortex.training.run import train

__all__ = ["DemoProgress", "DemoResult", "Row", "run_demo"]

_TESTS = ("glyphs", "digits")
_TASKS = 200


@dataclass(frozen=True)
class Row:
    """A learner's results.

    Attributes:
        learner: registry name.
        title: name in the table.
        norm: batch-norm policy, ``None`` if it has none.
        seconds: training time.
        results: by test data, ``"glyphs"`` (held-out scripts) and ``"digits"`` (handwriting).
    """

    learner: str
    title: str
    norm: str | None
    seconds: float
    results: dict[str, EvaluationResult]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        rows: a row for each learner.
        picture: PNG of one task.
        seconds: time of everything.
        runs: folder of the runs; ``runs/protonet`` and the others can be used on.
    """

    rows: tuple[Row, ...]
    picture: Path
    seconds: float
    runs: Path

    def row(self, learner: str) -> Row:
        """The row of a learner."""
        return next(row for row in self.rows if row.learner == learner)

    def advantage(self, learner: str, over: str, data: str = "glyphs") -> Interval:
        """Paired difference of accuracy of two learners on the same tasks, with 95 % interval."""
        return compare(self.row(learner).results[data], self.row(over).results[data])

    def to_json(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "seconds": self.seconds,
            "picture": str(self.picture),
            "rows": [
                {
                    "learner": row.learner,
                    "norm": row.norm,
                    "train_seconds": row.seconds,
                    "results": {name: result.to_json() for name, result in row.results.items()},
                }
                for row in self.rows
            ],
        }


DemoProgress = Callable[[str, float, str], None]
"""Called with (what is going on, share of the whole work done in 0–1, details)."""


def run_demo(minutes: float, out: Path, tell: DemoProgress = lambda what, share, detail: None) -> DemoResult:
    """Run the demo.

    Args:
        minutes: nominal length on two slow cores; the number of steps follows it, so that the result
            is the same on any machine.
        out: folder for the runs and ``task.png``; runs of an earlier demo in it are replaced.
        tell: told of the progress.

    Returns:
        Rows, picture and time.

    Raises:
        RunError: if the folder cannot be written.
    """
    began = time.perf_counter()
    tests = _tests(tell)
    rows, learners = [], {}
    for index, contender in enumerate(CONTENDERS):
        row, learners[contender.learner] = _contend(contender, index, minutes, out, tests, tell)
        rows.append(row)
    picture = draw_task(learners, tests["glyphs"], {c.learner: c.title for c in CONTENDERS}, out / "task.png")
    tell("done", 1.0, "")
    return DemoResult(tuple(rows), picture, time.perf_counter() - began, out)


def _tests(tell: DemoProgress) -> dict[str, Episodes]:
    def drawing(done: int, total: int) -> None:
        tell("drawing glyphs from fonts", 0.1 * done / total, "")

    glyphs = load_dataset("glyphs", progress=drawing)
    spec = EpisodeSpec(way=5, shot=1, queries=15)
    digits = load_dataset("digits")
    return {
        "glyphs": Episodes(glyphs.split("test"), spec, seed=0, split="test"),
        "digits": Episodes(digits.split("test"), spec, seed=0, split="test"),
    }


def _contend(
    contender: Contender,
    index: int,
    minutes: float,
    out: Path,
    tests: dict[str, Episodes],
    tell: DemoProgress,
) -> tuple[Row, Learner]:
    first, span = 0.1 + 0.9 * max(index - 1, 0) / (len(CONTENDERS) - 1), 0.9 / (len(CONTENDERS) - 1) * (index > 0)

    def show(event: TrainingEvent) -> None:
        accuracy = "" if event.val_score is None else f", validation {100 * event.val_score:.1f} %"
        detail = f"loss {event.loss:.3f}{accuracy}, {event.tasks_per_second:.0f} tasks/s"
        tell(contender.title, first + 0.8 * span * event.fraction, detail)

    settings = settings_of(contender, minutes)
    run = train(settings, out / contender.learner, overwrite=True, progress=show)
    tell(contender.title, first + 0.8 * span, "testing")
    results = {name: evaluate(run.learner, tests[name], tasks=_TASKS) for name in _TESTS}
    norm = getattr(getattr(run.learner, "body", None), "norm", None)
    return Row(contender.learner, contender.title, norm, run.seconds, results), run.learner
