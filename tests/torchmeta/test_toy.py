"""Toy data: what is drawn, from which seed, in which order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchmeta.toy import Harmonic, HarmonicTask, LinearTask, Sinusoid, SinusoidAndLine, SinusoidTask
from torchmeta.toy.helpers import harmonic, sinusoid
from torchmeta.utils.data import BatchMetaDataLoader


def test_order_of_draws() -> None:
    """Amplitudes, phases, inputs, noise, all from one RandomState."""
    data = Sinusoid(num_samples_per_task=6, num_tasks=4, noise_std=0.1)
    data.seed(1)
    task = data[2]
    rng = np.random.RandomState(1)
    amplitudes, phases = rng.uniform(0.1, 5.0, size=4), rng.uniform(0.0, np.pi, size=4)
    x = rng.uniform(-5.0, 5.0, size=(6, 1))
    y = amplitudes[2] * np.sin(x - phases[2]) + 0.1 * rng.randn(6, 1)
    assert isinstance(task, SinusoidTask)
    assert np.array_equal(task.inputs, x)
    assert np.array_equal(task.targets, y)
    assert np.array_equal(data.amplitudes, amplitudes)
    assert (task[0][0].shape, task[0][0].dtype, task.num_classes) == ((1,), np.float64, None)


def test_inputs_are_drawn_at_every_visit() -> None:
    data = Sinusoid(3, num_tasks=5)
    first, second = data[1], data[1]
    assert (first.amplitude, first.phase) == (second.amplitude, second.phase)
    assert not np.array_equal(first.inputs, second.inputs)
    with pytest.raises(IndexError):
        data[5]


def test_ranges() -> None:
    data = Sinusoid(50, num_tasks=200)
    data.seed(0)
    task = data[0]
    assert 0.1 <= data.amplitudes.min() < data.amplitudes.max() <= 5
    assert 0 <= data.phases.min() < data.phases.max() <= np.pi
    assert -5 <= task.inputs.min() < task.inputs.max() <= 5
    assert len(Sinusoid(1)) == 1000000
    assert len(Harmonic(1)) == 5000


def test_harmonic_and_lines() -> None:
    data = Harmonic(8, num_tasks=3)
    data.seed(2)
    task = data[1]
    assert isinstance(task, HarmonicTask)
    a, f, b = task.amplitudes, task.frequency, task.phases
    expected = a[0] * np.sin(f * task.inputs + b[0]) + a[1] * np.sin(2 * f * task.inputs + b[1])
    assert np.allclose(task.targets, expected)
    mixed = SinusoidAndLine(4, num_tasks=100)
    mixed.seed(0)
    kinds = [type(mixed[i]) for i in range(100)]
    assert 30 < kinds.count(LinearTask) < 70
    assert set(kinds) == {LinearTask, SinusoidTask}
    line = mixed[kinds.index(LinearTask)]
    assert np.allclose(line.targets, line.slope * line.inputs + line.intercept)


def test_helpers() -> None:
    data = sinusoid(5, test_shots=7, seed=0, num_tasks=10)
    parts = data[0]
    assert [len(part) for part in parts.values()] == [5, 7]
    batch = next(iter(BatchMetaDataLoader(data, batch_size=3)))
    assert (batch["train"][0].shape, batch["train"][0].dtype) == ((3, 5, 1), torch.float64)
    with pytest.warns(UserWarning, match="num_samples_per_task=30 is used"):
        assert len(harmonic(5, num_samples_per_task=30)[0]["test"]) == 5


def test_seeded_helpers_agree() -> None:
    first, second = (sinusoid(5, seed=3, num_tasks=10)[4] for _ in range(2))
    assert first["train"].indices == second["train"].indices
    assert np.array_equal(first["train"].dataset.inputs, second["train"].dataset.inputs)


def test_workers_and_epochs_differ() -> None:
    data = sinusoid(2, seed=0, num_tasks=2)
    loader = BatchMetaDataLoader(data, batch_size=1, shuffle=False, num_workers=2)
    epochs = [[batch["train"][0].flatten().tolist() for batch in loader] for _ in range(2)]
    assert len({str(batch) for epoch in epochs for batch in epoch}) == 4


def test_native_seed_covers_toy_data() -> None:
    """Parameters, inputs and splits follow from it, whatever the data set was seeded with."""

    def batches(seed: int, workers: int = 0) -> list:
        return list(BatchMetaDataLoader(sinusoid(3), batch_size=2, seed=seed, num_tasks=4, num_workers=workers))

    first, again, parallel = batches(0), batches(0), batches(0, 2)
    for one, same, other in zip(first, again, parallel, strict=True):
        assert torch.equal(one["test"][1], same["test"][1])
        assert torch.equal(one["test"][1], other["test"][1])
    assert not torch.equal(first[0]["test"][1], batches(1)[0]["test"][1])
