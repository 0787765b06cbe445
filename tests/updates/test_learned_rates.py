"""Learned rates: those of single weights (Meta-SGD) and of layers and steps (MAML++)."""

from __future__ import annotations

import pytest
import torch

from metacortex.errors import SettingsError
from metacortex.updates.base import Weights
from metacortex.updates.layer_step_rates import LayerStepRates
from metacortex.updates.meta_sgd import ElementwiseRates


def weights(seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"layer.weight": (3, 2), "layer.bias": (3,)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def test_elementwise_rates_begin_alike_and_act_alone() -> None:
    start, gradients = weights(0), weights(1)
    rule = ElementwiseRates(start, 0.2)
    assert {k: p.shape for k, p in rule.rates.items()} == {"layer/weight": (3, 2), "layer/bias": (3,)}
    assert all(p.dtype == torch.float64 and p.requires_grad for p in rule.parameters())
    with torch.no_grad():
        rule.rates["layer/weight"][1, 0] = -3.0
    new, state = rule.update(gradients, rule.init(start), start, 7)
    expected = {name: start[name] - 0.2 * gradients[name] for name in start}
    expected["layer.weight"][1, 0] = start["layer.weight"][1, 0] + 3 * gradients["layer.weight"][1, 0]
    torch.testing.assert_close(new, expected, rtol=1e-14, atol=0)
    assert state == {}


def test_layer_step_rates_choose_row_and_step() -> None:
    start, gradients = weights(0), weights(1)
    rule = LayerStepRates(start, 0.1, 3)
    with torch.no_grad():
        rule.rates.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    for step, (first, second) in enumerate([(1, 4), (2, 5), (3, 6), (3, 6)]):
        new, _ = rule.update(gradients, {}, start, step)
        expected = {"layer.weight": first, "layer.bias": second}
        for name, rate in expected.items():
            torch.testing.assert_close(new[name], start[name] - rate * gradients[name], rtol=1e-14, atol=0)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_rates_must_begin_positive(lr: float) -> None:
    with pytest.raises(SettingsError, match="inner_lr must be positive"):
        ElementwiseRates(weights(0), lr)
    with pytest.raises(SettingsError, match="inner_lr must be positive"):
        LayerStepRates(weights(0), lr, 1)
    with pytest.raises(SettingsError, match=r"steps at least 1, got 0\.1 and 0"):
        LayerStepRates(weights(0), 0.1, 0)
