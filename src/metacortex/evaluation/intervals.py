"""Confidence intervals of means and of paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    Solved from the regularised incomplete beta function by bisection, so that SciPy is not
    needed for one number; agrees with ``scipy.stats.t.ppf`` to 1e-9.

    Args:
        probability: in (0.5, 1).
        freedom: degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        low, high = high, high * 2
    for _ in range(200):
        middle = 0.5 * (low + high)
        if _t_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
        if high - low <= 1e-13 * high:
            break
    return 0.5 * (low + high)


def _t_cdf(t: float, freedom: int) -> float:
    # P(T <= t) = 1 - I_x(v/2, 1/2)/2 with x = v/(v + t^2), t >= 0.
    return 1.0 - 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front / a * _beta_fraction(a, b, x)


def _beta_fraction(a: float, b: float, x: float) -> float:
    # Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            step = c * d
            value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return value


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
