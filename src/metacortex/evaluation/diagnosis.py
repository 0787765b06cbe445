"""What a mean does not say: how sure a learner was when it was right, and what it takes for what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from metacortex.learners.base import Outcome
    from metacortex.task import Task

__all__ = ["Diagnosis"]

_BINS = 15
_CONFUSIONS = 20
_MATRIX = 30
"""As many classes are shown as a whole matrix."""


class Diagnosis:
    """Gathers reliability and confusions of classification tasks while they are evaluated.

    The expected calibration error is Σ_b |B_b|/n · |accuracy(B_b) − confidence(B_b)| over bins of equal
    width of the highest class probability.

    Example:
        >>> diagnosis = Diagnosis()
        >>> diagnosis.add(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 0, 1]))
        >>> diagnosis.to_json()["ece"]
        0.0

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """

    def __init__(self) -> None:
        self._count = torch.zeros(_BINS, dtype=torch.int64)
        self._confidence = torch.zeros(_BINS, dtype=torch.float64)
        self._hits = torch.zeros(_BINS, dtype=torch.float64)
        self._shown: Counter[str] = Counter()
        self._taken: Counter[tuple[str, str]] = Counter()

    def observe(self, batch: Task, outcome: Outcome) -> None:
        """Take in a batch of tasks and what came of it; tasks without classes are passed over.

        Args:
            batch: tasks with a leading task axis; ``info`` may name their classes.
            outcome: of `metacortex.engine.gradient.evaluate_tasks`.
        """
        if batch.query.classes is None:
            return
        probabilities = outcome.prediction.softmax(-1).cpu()  # [T, N, way]
        infos = batch.info if isinstance(batch.info, list) else [None] * len(probabilities)
        for row, info in enumerate(infos):
            mask = slice(None) if batch.query.mask is None else batch.query.mask[row].cpu()
            names = info.get("classes") if isinstance(info, dict) else None
            self.add(probabilities[row][mask], batch.query.targets[row].cpu()[mask], names)

    def add(self, probabilities: Tensor, targets: Tensor, names: list[str] | None = None) -> None:
        """Take in the answers to one task.

        Args:
            probabilities: ``[N, way]``.
            targets: ``[N]`` int64.
            names: of the classes.
        """
        sure, chosen = probabilities.max(-1)
        hits = chosen == targets
        index = (sure * _BINS).long().clamp(0, _BINS - 1)
        self._count += torch.bincount(index, minlength=_BINS)
        self._confidence.index_add_(0, index, sure.double())
        self._hits.index_add_(0, index, hits.double())
        if names is not None:
            self._shown.update(names[t] for t in targets.tolist())
            wrong = (~hits).nonzero()[:, 0].tolist()
            self._taken.update((names[int(targets[i])], names[int(chosen[i])]) for i in wrong)

    def to_json(self) -> dict[str, Any]:
        """``ece`` in 0–1, ``reliability`` (a row per bin with answers), ``confusions`` (the most frequent first).

        Where at most 30 classes were met, also ``matrix``: their names as ``classes`` and as ``rows`` how often
        queries of each were taken for each; the diagonal is what was right.
        """
        total = int(self._count.sum())
        if not total:
            return {}
        gaps = (self._hits - self._confidence).abs()
        rows = [
            {
                "from": b / _BINS,
                "to": (b + 1) / _BINS,
                "count": count,
                "confidence": float(self._confidence[b]) / count,
                "accuracy": float(self._hits[b]) / count,
            }
            for b, count in enumerate(self._count.tolist())
            if count
        ]
        confusions = [
            {"shown": shown, "taken_for": taken, "count": count, "of": self._shown[shown]}
            for (shown, taken), count in sorted(self._taken.items(), key=lambda item: (-item[1], item[0]))[:_CONFUSIONS]
        ]
        found = {"ece": float(gaps.sum()) / total, "reliability": rows, "confusions": confusions}
        names = sorted({*self._shown, *(taken for _, taken in self._taken)})
        return {**found, "matrix": self._matrix(names)} if 0 < len(names) <= _MATRIX else found

    def _matrix(self, names: list[str]) -> dict[str, Any]:
        wrong = Counter[str]()
        for (shown, _), count in self._taken.items():
            wrong[shown] += count
        right = {name: self._shown[name] - wrong[name] for name in names}
        rows = [[right[a] if a == b else self._taken[a, b] for b in names] for a in names]
        return {"classes": names, "rows": rows}
