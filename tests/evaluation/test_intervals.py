from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.errors import DataError
from metacortex.evaluation.intervals import bootstrap_interval, mean_interval, paired_interval, t_quantile

# From tables of the t distribution.
T_TABLE = [
    (0.975, 1, 12.706204736174694),
    (0.975, 2, 4.302652729749462),
    (0.975, 9, 2.262157162798205),
    (0.975, 599, 1.9639322489452784),
    (0.995, 5, 4.032142983555228),
    (0.9, 30, 1.3104150253913955),
]


@pytest.mark.parametrize(("probability", "freedom", "expected"), T_TABLE)
def test_t_quantile_against_table(probability, freedom, expected):
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 99, 599, 9999])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.9995])
def test_t_quantile_against_scipy(probability, freedom):
    stats = importlib.import_module("scipy.stats")
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9)


def test_mean_interval_against_scipy():
    stats = importlib.import_module("scipy.stats")
    values = np.random.default_rng(0).normal(size=50)
    low, high = stats.t.interval(0.95, 49, loc=values.mean(), scale=stats.sem(values))
    interval = mean_interval(values)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9)
    assert interval.half == pytest.approx((high - low) / 2, rel=1e-9)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_coverage(level):
    rng = np.random.default_rng(1)
    samples = rng.normal(0.7, 0.2, size=(1500, 8))
    covered = np.mean([i.low <= 0.7 <= i.high for i in (mean_interval(s, level) for s in samples)])
    # Three standard errors of 1500 trials.
    assert abs(covered - level) < 3 * np.sqrt(level * (1 - level) / 1500)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(-1, 1))
def test_shifting_scores_shifts_the_interval(scores, shift):
    one, other = mean_interval(scores), mean_interval(np.asarray(scores) + shift)
    assert other.mean == pytest.approx(one.mean + shift, abs=1e-12)
    assert other.half == pytest.approx(one.half, abs=1e-9)


def test_pairing_removes_the_difficulty_of_tasks():
    rng = np.random.default_rng(2)
    difficulty = rng.uniform(0.2, 0.9, 200)
    first = difficulty + 0.03 + 0.01 * rng.normal(size=200)
    paired = paired_interval(first, difficulty)
    assert paired.excludes_zero
    assert paired.half < 0.1 * mean_interval(first).half
    assert not paired_interval(difficulty, difficulty).excludes_zero


def test_bootstrap_agrees_on_many_scores_and_is_reproducible():
    values = np.random.default_rng(4).uniform(size=600)
    one, other = bootstrap_interval(values), mean_interval(values)
    assert one.half == pytest.approx(other.half, rel=0.1)
    assert one == bootstrap_interval(values)


def test_a_single_score_and_none():
    assert mean_interval([0.5]).half == 0
    with pytest.raises(DataError, match="at least one task"):
        mean_interval([])
    with pytest.raises(DataError, match="same tasks, got 2 and 3"):
        paired_interval([1, 2], [1, 2, 3])
