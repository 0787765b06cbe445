"""Losses and metrics against torch.distributions, with and without padding."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from metacortex.learners.objective import GaussianLikelihood, MeanSquaredError
from metacortex.task import Examples


def examples() -> Examples:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (3, 2))
    return Examples(x, y)


def test_gaussian_likelihood_is_that_of_the_normal_distribution() -> None:
    prediction, data = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).double(), examples()
    mean, deviation = GaussianLikelihood.split(prediction)
    assert torch.equal(mean, prediction[:, :2])
    expected = -Normal(mean, deviation).log_prob(data.targets).mean()
    torch.testing.assert_close(GaussianLikelihood().loss(prediction, data), expected)
    metrics = GaussianLikelihood().metrics(prediction, data)
    torch.testing.assert_close(metrics["nll"], expected)
    torch.testing.assert_close(metrics["mse"], ((mean - data.targets) ** 2).mean())


@pytest.mark.parametrize(("objective", "numbers"), [(GaussianLikelihood(), 4), (MeanSquaredError(), 2)])
def test_padding_does_not_count(objective: GaussianLikelihood | MeanSquaredError, numbers: int) -> None:
    data = examples()
    prediction = torch.randn(5, numbers, generator=torch.Generator().manual_seed(1)).double()
    mask = torch.tensor([True, True, False, True, False])
    masked = Examples(data.inputs, data.targets, mask)
    real = Examples(data.inputs[mask], data.targets[mask])
    torch.testing.assert_close(objective.loss(prediction, masked), objective.loss(prediction[mask], real))
    torch.testing.assert_close(objective.metrics(prediction, masked), objective.metrics(prediction[mask], real))
