"""Function families: pure functions of (seed, split, index), with the distributions that they claim."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from metacortex.errors import DataError, SettingsError
from metacortex.task import Task, stack_tasks
from metacortex.tasks.functions import function_names, function_settings, make_functions
from metacortex.tasks.gaussian_process import KERNELS, GaussianProcess
from metacortex.tasks.source import TaskSource

PINS = {
    "gp": "09f9d01957ada2bdeb6f11c605be9288a2b43a8a49f3da585e86e5580867a68e",
    "harmonic": "61ca84a1e01d7c0fabb569570577ed31aabb251ff0cd802589a605a88904e349",
    "sinusoid": "c45669688d61ceb3b21023db1c5d884ad51f92af7b72062189d671e886c14488",
}
Same = Callable[[Task, Task], None]
names = st.sampled_from(function_names())
sizes = st.one_of(st.integers(1, 6), st.tuples(st.integers(1, 3), st.integers(3, 6)))
quick = settings(deadline=None, max_examples=30)


@quick
@given(names, sizes, sizes, st.lists(st.integers(0, 2**40), min_size=1, max_size=4), st.integers(-5, 10**12))
def test_a_batch_is_its_tasks_stacked(
    same: Same,
    name: str,
    shot: int | tuple[int, int],
    queries: int | tuple[int, int],
    chosen: list[int],
    seed: int,
) -> None:
    source = make_functions(name, shot=shot, queries=queries, seed=seed, split="val")
    same(source.batch(chosen), stack_tasks([source.task(i) for i in chosen]))


@quick
@given(names, sizes, st.integers(0, 2**40), st.integers(0, 100))
def test_a_task_has_the_form_of_regression(name: str, shot: int | tuple[int, int], index: int, seed: int) -> None:
    source = make_functions(name, shot=shot, queries=4, seed=seed, split="train")
    task = source.task(index)
    low, high = (shot, shot) if isinstance(shot, int) else shot
    assert low <= len(task.support.targets) <= high
    for part in (task.support, task.query):
        assert part.inputs.dtype == part.targets.dtype == torch.float32
        assert part.inputs.shape == part.targets.shape == (len(part.targets), 1)
        assert part.mask is None
        assert part.classes is None
        assert bool(part.inputs.isfinite().all())
        assert bool(part.targets.isfinite().all())
    assert task.info["index"] == index


@quick
@given(st.integers(0, 10**6), st.integers(0, 100))
def test_a_sinusoid_is_the_formula(index: int, seed: int) -> None:
    task = make_functions("sinusoid", seed=seed, split="test").task(index)
    amplitude, phase = task.info["amplitude"], task.info["phase"]
    assert 0.1 <= amplitude <= 5
    assert 0 <= phase <= math.pi
    for part in (task.support, task.query):
        assert float(part.inputs.abs().max()) <= 5
        expected = amplitude * torch.sin(part.inputs.double() - phase)
        torch.testing.assert_close(part.targets.double(), expected, rtol=1e-6, atol=1e-6)


def test_a_harmonic_is_the_formula() -> None:
    task = make_functions("harmonic", split="test").task(3)
    p, x = task.info, task.query.inputs.double()
    first = p["amplitude1"] * torch.sin(p["frequency"] * x + p["phase1"])
    second = p["amplitude2"] * torch.sin(2 * p["frequency"] * x + p["phase2"])
    torch.testing.assert_close(task.query.targets.double(), first + second, rtol=1e-6, atol=1e-6)


def test_parameters_and_inputs_have_their_distributions() -> None:
    """Kolmogorov–Smirnov at a fixed seed: p-values are reproducible."""
    batch = make_functions("sinusoid", shot=1, queries=1, split="train").batch(range(2000))
    columns = {key: np.array([info[key] for info in batch.info]) for key in ("amplitude", "phase")}
    assert kstest(columns["amplitude"], "uniform", (0.1, 4.9)).pvalue > 0.01
    assert kstest(columns["phase"], "uniform", (0, math.pi)).pvalue > 0.01
    assert kstest(batch.support.inputs.flatten().numpy(), "uniform", (-5, 10)).pvalue > 0.01
    assert abs(np.corrcoef(columns["amplitude"], columns["phase"])[0, 1]) < 0.06
    assert abs(np.corrcoef(batch.support.inputs.flatten(), batch.query.inputs.flatten())[0, 1]) < 0.06
    waves = make_functions("harmonic", shot=1, queries=1, split="train").batch(range(2000))
    off = waves.support.inputs.flatten().numpy() - np.array([info["center"] for info in waves.info])
    assert kstest(off, "norm").pvalue > 0.01
    assert kstest([info["amplitude2"] for info in waves.info], "norm").pvalue > 0.01
    assert kstest([info["frequency"] for info in waves.info], "uniform", (5, 2)).pvalue > 0.01


def test_noise_is_added_to_the_function() -> None:
    options = {"shot": 50, "queries": 50, "split": "train"}
    clean, noisy = make_functions("sinusoid", **options), make_functions("sinusoid", noise=0.3, **options)
    first, second = clean.batch(range(40)), noisy.batch(range(40))
    assert torch.equal(first.support.inputs, second.support.inputs)
    noise = torch.cat([second.support.targets - first.support.targets, second.query.targets - first.query.targets])
    assert kstest(noise.flatten().numpy() / 0.3, "norm").pvalue > 0.01
    curve = noisy.curve(5, second.query.inputs[5])
    torch.testing.assert_close(curve, first.query.targets[5], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_gaussian_process_has_its_covariance(kernel: str) -> None:
    """Fixed ℓ and σ: the mean of y y' over 1500 functions is σ² k(|x − x'|/ℓ)."""
    source = GaussianProcess(
        replace(function_settings("gp")(), kernel=kernel, length_scale=(0.5, 0.5), scale=(2.0, 2.0), noise=0.0),
        shot=1,
        queries=1,
        split="train",
    )
    keys = np.arange(1500, dtype=np.uint64)
    grid = np.broadcast_to([-1.0, -0.8, 0.1], (1500, 3))
    normal = np.random.default_rng(0).normal(size=(1500, 3))
    y = source.values(source.parameters(np.full((len(keys), 2), 0.5)), grid, normal)
    distances = np.abs(grid[0][:, None] - grid[0])
    np.testing.assert_allclose(y.T @ y / len(keys), 4 * KERNELS[kernel](distances / 0.5), atol=0.35)
    assert KERNELS[kernel](np.array(0.0)) == 1


def test_the_exact_posterior_is_calibrated() -> None:
    """Under the posterior, (y − mean) / deviation of a query is standard normal."""
    source = make_functions("gp", shot=8, queries=1, split="test", noise=0.1)
    scores = []
    for index in range(300):
        task = source.task(index)
        mean, deviation = source.posterior(index, task.query.inputs.double())
        scores.append(float((task.query.targets - mean) / deviation))
    assert kstest(scores, "norm").pvalue > 0.01


def test_a_curve_passes_through_the_examples() -> None:
    source = make_functions("gp", noise=0.0, split="test", kernel="matern32")
    task = source.task(2)
    torch.testing.assert_close(source.curve(2, task.support.inputs), task.support.targets, rtol=0, atol=2e-4)
    grid = torch.linspace(-2, 2, 200, dtype=torch.float64)[:, None]
    torch.testing.assert_close(source.curve(2, grid)[:100], source.curve(2, grid[:100]), rtol=0, atol=1e-9)
    assert source.curve(2, grid).dtype == torch.float64


@pytest.mark.parametrize("name", function_names())
def test_seed_split_and_settings_matter(name: str) -> None:
    source = make_functions(name, split="test")
    assert isinstance(source, TaskSource)
    same = make_functions(name, split="test").fingerprint(20)
    assert source.fingerprint(20) == same
    changes = ({"seed": 1}, {"split": "val"}, {"shot": 5}, {"noise": 0.7})
    others = {make_functions(name, **{"split": "test", **change}).fingerprint(20) for change in changes}
    assert len(others | {same}) == 5
    assert source.fingerprint(19) != same


@pytest.mark.parametrize("name", function_names())
def test_fingerprints_are_pinned_and_sources_can_be_pickled(name: str, same: Same) -> None:
    source = make_functions(name, shot=(2, 5), queries=3, seed=11, split="test", noise=0.1)
    assert source.fingerprint(50) == PINS[name]
    same(pickle.loads(pickle.dumps(source)).task(4), source.task(4))


def test_tasks_of_another_size_are_the_same_functions() -> None:
    small, large = (make_functions("sinusoid", shot=shot, split="test").task(7) for shot in (2, 9))
    assert small.info == large.info
    assert torch.equal(large.support.inputs[:2], small.support.inputs)
    assert torch.equal(large.query.targets, small.query.targets)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'sinusoid'"):
        make_functions("sinusoids")
    with pytest.raises(SettingsError, match="did you mean 'amplitude'"):
        make_functions("sinusoid", amplitudes=(0, 1))
    with pytest.raises(SettingsError, match="low <= high"):
        make_functions("sinusoid", amplitude=(2.0, 1.0))
    with pytest.raises(SettingsError, match="above 0"):
        make_functions("gp", length_scale=(0.0, 1.0))
    with pytest.raises(SettingsError, match="did you mean 'rbf'"):
        make_functions("gp", kernel="rbs")
    with pytest.raises(SettingsError, match="noise"):
        make_functions("gp", noise=-1.0)
    with pytest.raises(SettingsError, match="spread"):
        make_functions("harmonic", spread=0.0)
    with pytest.raises(SettingsError, match="shot"):
        make_functions("gp", shot=0)
    with pytest.raises(SettingsError, match="queries"):
        make_functions("gp", queries=(4, 2))
    source = make_functions("gp")
    with pytest.raises(DataError, match="at least one"):
        source.batch([])
    with pytest.raises(DataError, match="from 0"):
        source.task(-1)
