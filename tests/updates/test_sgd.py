"""The update rule of MAML against torch.optim.SGD."""

from __future__ import annotations

import pytest
import torch

from metacortex.errors import SettingsError
from metacortex.updates.sgd import SGD


def test_equals_torch_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(3, 2, generator=generator, dtype=torch.float64) for name in "ab"}
    theirs = {name: w.clone().requires_grad_() for name, w in weights.items()}
    optimizer, rule = torch.optim.SGD(theirs.values(), lr=0.1), SGD(0.1)
    state = rule.init(weights)
    for step in range(5):
        gradients = {name: torch.randn(3, 2, generator=generator, dtype=torch.float64) for name in "ab"}
        weights, state = rule.update(gradients, state, weights, step)
        for name, p in theirs.items():
            p.grad = gradients[name]
        optimizer.step()
        for name, p in theirs.items():
            torch.testing.assert_close(weights[name], p.detach(), rtol=1e-15, atol=0)


def test_is_pure_and_differentiable() -> None:
    w, g = torch.ones(2, requires_grad=True), torch.full((2,), 3.0, requires_grad=True)
    new, _ = SGD(0.5).update({"w": g}, {}, {"w": w}, 0)
    assert torch.equal(w, torch.ones(2))
    dw, dg = torch.autograd.grad(new["w"].sum(), [w, g])
    assert torch.equal(dw, torch.ones(2))
    assert torch.equal(dg, torch.full((2,), -0.5))


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_the_rate_must_be_positive(lr: float) -> None:
    with pytest.raises(SettingsError, match="inner_lr must be positive"):
        SGD(lr)
