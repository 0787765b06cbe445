"""Confidence intervals of means and of paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # scipy.stats would take a second to import

from metacortex.errors import DataError

__all__ = ["Interval", "bootstrap_interval", "mean_interval", "paired_interval", "t_quantile"]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: the estimate.
        half: half width; for an interval that is not symmetric, half of its whole width.
        low: lower end.
        high: upper end.
        level: its confidence, e.g. 0.95.
    """

    mean: float
    half: float
    low: float
    high: float
    level: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.half:.2f} %"


def _values(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) < 1:
        raise DataError(f"an interval needs scores of shape [tasks] with at least one task, got {values.shape}")
    return values


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution.

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, at least 1.
    """
    return float(stdtrit(freedom, probability))


def mean_interval(scores: ArrayLike, level: float = 0.95) -> Interval:
    """Mean and t-interval of independent scores: ``mean ± t_{(1+level)/2, n-1} · s/√n``.

    Args:
        scores: ``[tasks]``.
        level: confidence, in (0, 1).

    Returns:
        The interval; of a single score its half width is 0, as nothing is known of its spread.

    Example:
        >>> str(mean_interval([0.9, 0.8, 1.0, 0.9]))
        '90.00 ± 12.99 %'
    """
    values = _values(scores)
    mean = float(values.mean())
    half = 0.0
    if len(values) > 1:
        half = t_quantile(0.5 + level / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean, half, mean - half, mean + half, level)


def paired_interval(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the mean difference ``first - second`` of scores on the same tasks.

    Much narrower than what two single intervals suggest, as the difficulty of each task cancels.

    Args:
        first: ``[tasks]``.
        second: ``[tasks]``, the same tasks in the same order.
        level: confidence, in (0, 1).

    Raises:
        DataError: if the numbers of scores differ.
    """
    a, b = _values(first), _values(second)
    if a.shape != b.shape:
        raise DataError(f"a paired comparison needs scores of the same tasks, got {len(a)} and {len(b)} scores")
    return mean_interval(a - b, level)


def bootstrap_interval(
    scores: Sequence[float] | ArrayLike, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean, for scores that are far from normal.

    Args:
        scores: ``[tasks]``.
        level: confidence, in (0, 1).
        resamples: how many.
        seed: of the resampling.
    """
    values = _values(scores)
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)])
    low, high = (float(q) for q in np.quantile(means, [0.5 - level / 2, 0.5 + level / 2]))
    return Interval(float(values.mean()), (high - low) / 2, low, high, level)
