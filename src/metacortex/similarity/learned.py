"""A metric between tasks learned from measured transfer: what served tasks like the new one should serve it, too.

Given are known tasks, the transfer T_At measured from each known task A to each other known task t
(`metacortex.similarity.transfer`), and other measures d_k. With z_At = T_At standardised over A for each t,

    worth        w(A)      = mean over t of z_At
    by analogy   s_k(A, B) = Σ_t κ_k(t, B) z_At / Σ_t κ_k(t, B),   κ_k(t, B) = exp( −(d_k(t, B) − min) / (h σ_k) )
    directly     −d_k(A, B), standardised over the pairs of known tasks

    d(A, B) = −( a w(A) + Σ_k b_k s_k(A, B) − Σ_k c_k d_k(A, B) )

a, b and c are the ridge regression of z_AB on these over the pairs of known tasks, where B is left out of the means. So
the distance is not symmetric, and it knows only tasks whose transfer was measured; the new one may be any.

Reference: Nadaraya (1964) and Watson (1964) for the weighted mean; Achille et al., "Task2Vec", ICCV 2019, "Model
selection", chooses what was best for the nearest task, the limit h → 0 of s_k. Ours: the combination.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError, SettingsError
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.transfer import TransferSettings, transfer_matrix
from metacortex.task import Examples

__all__ = ["LearnedDistance", "PairFeatures"]

Matrix = NDArray[np.float64]
_LEAST = 4
"""Known tasks below which there is nothing to learn from."""


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """What a pair (A, B) is judged by, from matrices that are at hand; pure arithmetic.

    Attributes:
        z: ``[known, known]`` standardised transfers, NaN where A is B.
        scales: mean and deviation of each measure over the pairs of known tasks, ``[measures, 2]``.
        bandwidth: h.
    """

    z: Matrix
    scales: Matrix
    bandwidth: float

    @staticmethod
    def learn(transfers: Matrix, direct: Sequence[Matrix], bandwidth: float) -> PairFeatures:
        """Standardise.

        Args:
            transfers: T ``[known, known]``; the diagonal does not count.
            direct: d_k ``[known, known]`` of each measure.
            bandwidth: h, positive.
        """
        off = ~np.eye(len(transfers), dtype=bool)
        masked = np.where(off, transfers, np.nan)
        deviation = np.maximum(np.nanstd(masked, 0), 1e-12)
        scales = [(float(d[off].mean()), max(float(d[off].std()), 1e-12)) for d in direct]
        return PairFeatures((masked - np.nanmean(masked, 0)) / deviation, np.array(scales), bandwidth)

    def regress(self, direct: Sequence[Matrix], alike: Sequence[Matrix], ridge: float) -> Matrix:
        """The weights ``[1 + 2 · measures]``: ridge regression over the pairs of known tasks.

        Args:
            direct: d_k(A, B) ``[known, known]``.
            alike: d_k(t, B) ``[known, known]``.
            ridge: penalty.
        """
        known = ~np.isnan(self.z)
        rows = self.columns(direct, alike, list(range(len(self.z))))[known]
        found = np.linalg.solve(rows.T @ rows + ridge * np.eye(rows.shape[1]), rows.T @ self.z[known])
        return np.asarray(found, dtype=np.float64)

    def columns(self, direct: Sequence[Matrix], alike: Sequence[Matrix], left_out: Sequence[int | None]) -> Matrix:
        """Features ``[known, new, 1 + 2 · measures]``.

        Args:
            direct: d_k(A, B) ``[known, new]`` of each measure.
            alike: d_k(t, B) ``[known, new]``, from the known tasks as targets.
            left_out: for each new task the known task that it is, if it is one.
        """
        count = len(self.z)
        found = np.zeros((count, len(left_out), 1 + 2 * len(direct)))
        for j, own in enumerate(left_out):
            use = np.ones((count, count), dtype=bool) if own is None else np.arange(count) != own
            use = np.broadcast_to(use, (count, count)) & ~np.isnan(self.z)
            z = np.where(use, self.z, 0.0)
            found[:, j, 0] = z.sum(1) / np.maximum(use.sum(1), 1)
            for k, (d, t) in enumerate(zip(direct, alike, strict=True)):
                mean, deviation = self.scales[k]
                near = t[:, j] - (t[:, j] if own is None else np.delete(t[:, j], own)).min()
                weights = use * np.exp(-np.maximum(near, 0.0) / (self.bandwidth * deviation))
                found[:, j, 1 + 2 * k] = (weights * z).sum(1) / np.maximum(weights.sum(1), 1e-300)
                found[:, j, 2 + 2 * k] = -(d[:, j] - mean) / deviation
        return found


class LearnedDistance(TaskDistance):
    """See the module.

    Args:
        measures: d_k, at least one.
        bandwidth: h, of the weighted mean.
        ridge: penalty of the regression on standardised transfers.
        settings: how transfer is measured where none is given.

    Raises:
        SettingsError: for values out of range.
    """

    name: ClassVar[str] = "learned"

    def __init__(
        self,
        measures: Sequence[TaskDistance],
        *,
        bandwidth: float = 0.25,
        ridge: float = 10.0,
        settings: TransferSettings | None = None,
    ) -> None:
        if not measures or bandwidth <= 0 or ridge <= 0:
            raise SettingsError(
                f"a learned distance needs a measure or more and positive bandwidth and ridge, got {len(measures)}, "
                f"{bandwidth}, {ridge}"
            )
        self.measures, self.bandwidth, self.ridge = tuple(measures), bandwidth, ridge
        self.settings = settings or TransferSettings()
        self.weights: Matrix | None = None
        self.known: tuple[str, ...] = ()

    def fit(
        self,
        known: Mapping[str, Examples],
        transfers: Matrix | None = None,
        *,
        targets: Mapping[str, Examples] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> LearnedDistance:
        """Learn the weights.

        Args:
            known: tasks by name.
            transfers: ``[known, known]`` accuracies, rows learned from; measured when not given (seconds per task).
            targets: the same tasks as they are when they are targets, where that differs.
            progress: called with (tasks measured, tasks).

        Raises:
            DataError: for fewer than four known tasks, or transfers of another shape.
        """
        if len(known) < _LEAST:
            raise DataError(f"a learned distance needs {_LEAST} known tasks or more to learn from, got {len(known)}")
        after = known if targets is None else targets
        for measure in self.measures:
            measure.fit(known)
        found = transfer_matrix(known, known, self.settings, progress=progress) if transfers is None else transfers
        if found.shape != (len(known), len(known)):
            raise DataError(f"expected transfers [{len(known)}, {len(known)}], got {list(found.shape)}")
        self._sources = [[m.embed(task) for task in known.values()] for m in self.measures]
        self._targets = [[m.embed(task) for task in after.values()] for m in self.measures]
        return self._regress(tuple(known), found)

    def _regress(self, names: tuple[str, ...], transfers: Matrix) -> LearnedDistance:
        direct, alike = self._distances(self._targets)
        self.features = PairFeatures.learn(transfers, direct, self.bandwidth)
        self.weights, self.known = self.features.regress(direct, alike, self.ridge), names
        return self

    def embed(self, task: Examples) -> tuple[Any, ...]:
        """The embeddings of all measures."""
        return tuple(measure.embed(task) for measure in self.measures)

    def distance(self, known: Any, new: Any) -> float:
        """Not given for a single pair: it rests on the transfers of the known tasks; use `matrix` or `rank`.

        Raises:
            DataError: always.
        """
        raise DataError("a learned distance is given for the known tasks together: use rank or matrix")

    def matrix(self, known: Mapping[str, Examples], new: Mapping[str, Examples]) -> Matrix:
        """``[known, new]`` distances.

        Raises:
            DataError: before `fit`, for known tasks that it did not see, or inputs of different shapes.
        """
        if self.weights is None:
            raise DataError("the distance has not learned yet: call fit with the known tasks first")
        strange = sorted(set(known) - set(self.known))
        if strange:
            raise DataError(
                f"the transfer of {', '.join(strange)} was not measured: give it to fit with the known tasks"
            )
        self._check(known, new)
        embedded = [self.embed(task) for task in new.values()]
        direct, alike = self._distances([[e[k] for e in embedded] for k in range(len(self.measures))])
        values = -(self.features.columns(direct, alike, [None] * len(new)) @ self.weights)
        return values[[self.known.index(name) for name in known]]

    def _distances(self, new: Sequence[Sequence[Any]]) -> tuple[list[Matrix], list[Matrix]]:
        """d_k of the known tasks as sources, and as targets, to others."""
        direct = [m.between(a, b) for m, a, b in zip(self.measures, self._sources, new, strict=True)]
        return direct, [m.between(a, b) for m, a, b in zip(self.measures, self._targets, new, strict=True)]
