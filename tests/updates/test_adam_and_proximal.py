"""Inner Adam against torch.optim.Adam, and proximal descent against its closed form."""

from __future__ import annotations

import pytest
import torch

from metacortex.errors import SettingsError
from metacortex.updates.adam import Adam
from metacortex.updates.proximal import ProximalSGD


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
def test_adam_equals_torch_step_by_step(betas: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(3, 2, generator=generator, dtype=torch.float64) for name in "ab"}
    theirs = {name: w.clone().requires_grad_() for name, w in weights.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.1, betas=betas, eps=1e-12)
    rule = Adam(0.1, betas, eps=1e-24)
    state = rule.init(weights)
    for step in range(5):
        gradients = {name: torch.randn(3, 2, generator=generator, dtype=torch.float64) for name in "ab"}
        weights, state = rule.update(gradients, state, weights, step)
        for name, p in theirs.items():
            p.grad = gradients[name]
        optimizer.step()
        for name, p in theirs.items():
            torch.testing.assert_close(weights[name], p.detach(), rtol=1e-10, atol=0)


def test_adam_is_differentiable_at_a_gradient_of_zero() -> None:
    """Where √v̂ has no derivative: the reason for ε inside the root."""
    g = torch.zeros(2, requires_grad=True)
    rule, w = Adam(0.1), {"w": torch.ones(2)}
    new, state = rule.update({"w": g}, rule.init(w), w, 0)
    new, _ = rule.update({"w": g}, state, new, 1)
    (slope,) = torch.autograd.grad(new["w"].sum(), g)
    assert bool(slope.isfinite().all())
    assert torch.equal(new["w"], torch.ones(2))


def test_adam_is_differentiable_in_the_gradient() -> None:
    w = {"w": torch.ones(3, dtype=torch.float64)}
    rule = Adam(0.1)
    g = torch.tensor([0.3, -2.0, 0.01], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: rule.update({"w": g}, rule.init(w), w, 0)[0]["w"], g, eps=1e-7)


def test_proximal_descent_ends_where_both_pulls_balance() -> None:
    """L = ½ s (w − a)²: the minimum of L + λ/2 (w − w_0)² is (s a + λ w_0) / (s + λ)."""
    s, a, start, strength = 3.0, 2.0, 5.0, 1.5
    rule, w = ProximalSGD(0.2, strength), {"w": torch.tensor(start, dtype=torch.float64)}
    state = rule.init(w)
    for step in range(200):
        w, state = rule.update({"w": s * (w["w"] - a)}, state, w, step)
    assert float(w["w"]) == pytest.approx((s * a + strength * start) / (s + strength), rel=1e-12)
    assert float(state["w"]) == start


def test_values_out_of_range() -> None:
    with pytest.raises(SettingsError, match=r"strength not negative, got 0\.1 and -1"):
        ProximalSGD(0.1, -1)
    for values in ((0.0,), (0.1, (1.0, 0.9)), (0.1, (0.9, 0.9), 0.0)):
        with pytest.raises(SettingsError, match="lr and eps above 0 and betas"):
            Adam(*values)
