"""Results of evaluations: what is kept, how it is saved, and which two may be compared.

A saved result is one JSON object, version 1:

    {"version": 1,
     "accuracy": 0.9812,          mean accuracy over tasks, 0 to 1
     "ci95": 0.0021,              half width of its 95 % t-interval, 0 to 1
     "tasks": 600,                number of tasks
     "loss": 0.0621,              mean query loss
     "protocol": {...},           what was measured: data, split, way, shot, queries, norm policy, description …
     "fingerprint": "9f2c…",      sum over store and tasks: results with the same one can be paired
     "learner": "protonet",
     "checkpoint": {...},         which, and at which step
     "scores": [0.9867, ...]}     accuracy of each task, in order

Keys may be added; the meaning of these does not change within a version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metacortex.errors import DataError, RunError
from metacortex.evaluation.intervals import Interval, mean_interval, paired_interval

__all__ = ["RESULT_VERSION", "EvaluationResult", "compare", "load_result"]

RESULT_VERSION = 1


@dataclass(frozen=True)
class EvaluationResult:
    """Accuracy of a learner on fixed tasks.

    Attributes:
        accuracy: accuracy of each task, 0 to 1.
        loss: mean query loss.
        mean: mean accuracy.
        ci95: half width of its 95 % t-interval.
        protocol: what was measured, in words.
        fingerprint: sum over the tasks (and the store, where known).
        details: the protocol as data: way, shot, split, norm policy, …
        learner: name of the learner.
        checkpoint: which weights: name and step.
        path: where it was saved, if it was.
    """

    accuracy: tuple[float, ...]
    loss: float
    mean: float
    ci95: float
    protocol: str
    fingerprint: str
    details: Mapping[str, Any] = field(default_factory=dict)
    learner: str = ""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @staticmethod
    def of(accuracy: Sequence[float], loss: float, *, protocol: str, fingerprint: str) -> EvaluationResult:
        """A result from the accuracy of each task."""
        interval = mean_interval(accuracy)
        return EvaluationResult(tuple(accuracy), loss, interval.mean, interval.half, protocol, fingerprint)

    @property
    def interval(self) -> Interval:
        """Mean accuracy and its 95 % interval."""
        return mean_interval(self.accuracy)

    def to_json(self) -> dict[str, Any]:
        """The documented object, see the module."""
        return {
            "version": RESULT_VERSION,
            "accuracy": self.mean,
            "ci95": self.ci95,
            "tasks": len(self.accuracy),
            "loss": self.loss,
            "protocol": {**self.details, "description": self.protocol},
            "fingerprint": self.fingerprint,
            "learner": self.learner,
            "checkpoint": dict(self.checkpoint),
            "scores": list(self.accuracy),
        }

    def __str__(self) -> str:
        return f"{self.interval} ({len(self.accuracy)} tasks; {self.protocol})"


def load_result(path: Path | str) -> EvaluationResult:
    """Read a saved result.

    Raises:
        RunError: if it cannot be read, or a newer metacortex wrote it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
        if content["version"] > RESULT_VERSION:
            raise RunError(
                f"{path} has result version {content['version']}, this metacortex knows up to {RESULT_VERSION}: "
                "update metacortex"
            )
        details = dict(content["protocol"])
        description = details.pop("description")
        return EvaluationResult(
            tuple(float(s) for s in content["scores"]),
            float(content["loss"]),
            float(content["accuracy"]),
            float(content["ci95"]),
            description,
            content["fingerprint"],
            details,
            content["learner"],
            content["checkpoint"],
            path,
        )
    except OSError as error:
        raise RunError(f"cannot read the result {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a result of an evaluation, or it is damaged: {error!r}") from error


def compare(first: EvaluationResult, second: EvaluationResult) -> Interval:
    """95 % interval of the mean paired difference ``first - second``.

    Raises:
        DataError: if the two were not measured on the same tasks.
    """
    if first.fingerprint != second.fingerprint or len(first.accuracy) != len(second.accuracy):
        raise DataError(
            f"these results are of different tasks ('{first.protocol}', {len(first.accuracy)} tasks, and "
            f"'{second.protocol}', {len(second.accuracy)} tasks): evaluate both on the same data with the same "
            "way, shot, queries, seed and number of tasks"
        )
    return paired_interval(first.accuracy, second.accuracy)
