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

Regression is scored by another metric: the object then says ``"metric": "mse"`` and
``"higher_is_better": false``, and ``"mse"`` stands in the place of ``"accuracy"``. Where a learner's
objective has further metrics, ``"metrics"`` holds the mean of each, e.g. ``{"nll": 0.21}``. The
evaluation of a run also has a ``"diagnosis"`` of classification: ``"ece"`` (expected calibration
error, 0 to 1), ``"reliability"`` (answers by how sure they were) and ``"confusions"`` (what was most
often taken for what).

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

__all__ = ["RESULT_VERSION", "EvaluationResult", "compare", "load_result", "result_from_json"]

RESULT_VERSION = 1


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of a learner on fixed tasks.

    Attributes:
        scores: score of each task: accuracy from 0 to 1, or another metric.
        loss: mean query loss.
        mean: mean score.
        ci95: half width of its 95 % t-interval.
        protocol: what was measured, in words.
        fingerprint: sum over the tasks (and the store, where known).
        details: the protocol as data: way, shot, split, norm policy, …
        learner: name of the learner.
        checkpoint: which weights: name and step.
        path: where it was saved, if it was.
        metric: what the scores are: the name of the objective's score.
        higher_is_better: whether a larger score is a better one.
        metrics: means of the objective's other metrics.
        diagnosis: see `metacortex.evaluation.diagnosis.Diagnosis.to_json`; empty where none was made.
    """

    scores: tuple[float, ...]
    loss: float
    mean: float
    ci95: float
    protocol: str
    fingerprint: str
    details: Mapping[str, Any] = field(default_factory=dict)
    learner: str = ""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    metric: str = "accuracy"
    higher_is_better: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)
    diagnosis: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        scores: Sequence[float],
        loss: float,
        *,
        protocol: str,
        fingerprint: str,
        metric: str = "accuracy",
        higher_is_better: bool = True,
        metrics: Mapping[str, float] | None = None,
    ) -> EvaluationResult:
        """A result from the score of each task."""
        interval = mean_interval(scores)
        return EvaluationResult(
            tuple(scores),
            loss,
            interval.mean,
            interval.half,
            protocol,
            fingerprint,
            metric=metric,
            higher_is_better=higher_is_better,
            metrics=metrics or {},
        )

    @property
    def accuracy(self) -> tuple[float, ...]:
        """Accuracy of each task, 0 to 1.

        Raises:
            DataError: if the tasks were scored by another metric.
        """
        if self.metric != "accuracy":
            raise DataError(f"these tasks were scored by {self.metric}, which is no accuracy: use `scores`")
        return self.scores

    @property
    def interval(self) -> Interval:
        """Mean score and its 95 % interval."""
        return mean_interval(self.scores)

    @property
    def figure(self) -> str:
        """Mean and 95 % interval as they are printed: ``"98.12 ± 0.21 %"`` or ``"0.5312 ± 0.0213"``."""
        return str(self.interval) if self.metric == "accuracy" else f"{self.mean:.4f} ± {self.ci95:.4f}"

    def to_json(self) -> dict[str, Any]:
        """The documented object, see the module."""
        content: dict[str, Any] = {
            "version": RESULT_VERSION,
            self.metric: self.mean,
            "ci95": self.ci95,
            "tasks": len(self.scores),
            "loss": self.loss,
            "protocol": {**self.details, "description": self.protocol},
            "fingerprint": self.fingerprint,
            "learner": self.learner,
            "checkpoint": dict(self.checkpoint),
            "scores": list(self.scores),
        }
        if self.metric != "accuracy":
            content |= {"metric": self.metric, "higher_is_better": self.higher_is_better}
        if self.metrics:
            content["metrics"] = dict(self.metrics)
        if self.diagnosis:
            content["diagnosis"] = dict(self.diagnosis)
        return content

    def __str__(self) -> str:
        name = "" if self.metric == "accuracy" else f"{self.metric} "
        return f"{name}{self.figure} ({len(self.scores)} tasks; {self.protocol})"


def load_result(path: Path | str) -> EvaluationResult:
    """Read a saved result.

    Raises:
        RunError: if it cannot be read, or a newer metacortex wrote it.
    """
    path = Path(path)
    try:
        return result_from_json(json.loads(path.read_bytes()), path)
    except OSError as error:
        raise RunError(f"cannot read the result {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is not a result of an evaluation, or it is damaged: {error!r}") from error


def result_from_json(content: Any, path: Path) -> EvaluationResult:
    """The inverse of `EvaluationResult.to_json`.

    Args:
        content: the documented object.
        path: where it was read.

    Raises:
        RunError: if it is no such object, or a newer metacortex wrote it.
    """
    try:
        if content["version"] > RESULT_VERSION:
            raise RunError(
                f"{path} has result version {content['version']}, this metacortex knows up to {RESULT_VERSION}: "
                "update metacortex"
            )
        metric = content.get("metric", "accuracy")
        details = dict(content["protocol"])
        description = details.pop("description")
        return EvaluationResult(
            tuple(float(s) for s in content["scores"]),
            float(content["loss"]),
            float(content[metric]),
            float(content["ci95"]),
            description,
            content["fingerprint"],
            details,
            content["learner"],
            content["checkpoint"],
            path,
            metric,
            bool(content.get("higher_is_better", True)),
            {name: float(value) for name, value in content.get("metrics", {}).items()},
            dict(content.get("diagnosis", {})),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a result of an evaluation, or it is damaged: {error!r}") from error


def compare(first: EvaluationResult, second: EvaluationResult) -> Interval:
    """95 % interval of the mean paired difference ``first - second``.

    Raises:
        DataError: if the two were not measured on the same tasks, or not by the same metric.
    """
    if first.fingerprint != second.fingerprint or len(first.scores) != len(second.scores):
        raise DataError(
            f"these results are of different tasks ('{first.protocol}', {len(first.scores)} tasks, and "
            f"'{second.protocol}', {len(second.scores)} tasks): evaluate both on the same data with the same "
            "way, shot, queries, seed and number of tasks"
        )
    if first.metric != second.metric:
        raise DataError(f"these results were scored by different metrics: {first.metric} and {second.metric}")
    return paired_interval(first.scores, second.scores)
