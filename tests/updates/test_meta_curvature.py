"""The transformation of gradients of Meta-Curvature against its definition element by element."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.updates.meta_curvature import Curvature

SHAPES = {"conv.weight": (4, 3, 2, 2), "linear.weight": (3, 5), "bias": (4,), "scale": ()}


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_rule() -> Curvature:
    rule = Curvature({name: draw(shape, 0) for name, shape in SHAPES.items()}, 0.1)
    for seed, parameter in enumerate(rule.parameters()):
        parameter.data = draw(tuple(parameter.shape), seed)
    return rule


def test_begins_as_sgd() -> None:
    start = {name: draw(shape, 0) for name, shape in SHAPES.items()}
    gradients = {name: draw(shape, 1) for name, shape in SHAPES.items()}
    new, _ = Curvature(start, 0.1).update(gradients, {}, start, 0)
    torch.testing.assert_close(new, {n: start[n] - 0.1 * gradients[n] for n in start}, rtol=1e-14, atol=1e-14)


def test_mode_products_by_definition() -> None:
    rule = drawn_rule()
    matrices = rule.matrices
    g = draw(SHAPES["conv.weight"], 1)
    outer, inner, within = (matrices[f"conv/weight:{axis}"] for axis in range(3))
    expected = torch.einsum("ax,by,cz,xyz->abc", outer, inner, within, g.flatten(2)).reshape(g.shape)
    torch.testing.assert_close(rule.transformed("conv.weight", g), expected, rtol=1e-12, atol=1e-12)
    g = draw(SHAPES["linear.weight"], 1)
    expected = matrices["linear/weight:0"] @ g @ matrices["linear/weight:1"].T
    torch.testing.assert_close(rule.transformed("linear.weight", g), expected, rtol=1e-12, atol=1e-12)
    g = draw(SHAPES["bias"], 1)
    torch.testing.assert_close(rule.transformed("bias", g), matrices["bias:0"] @ g, rtol=1e-12, atol=1e-12)
    assert rule.transformed("scale", torch.tensor(2.0, dtype=torch.float64)).shape == ()


def test_is_differentiable_in_its_matrices() -> None:
    rule, g = drawn_rule(), draw(SHAPES["conv.weight"], 1)
    names = [f"conv/weight:{axis}" for axis in range(3)]

    def transformed(*matrices: Tensor) -> Tensor:
        swapped = {f"matrices.{name}": m for name, m in zip(names, matrices, strict=True)}
        return torch.func.functional_call(Calls(rule), {f"rule.{k}": m for k, m in swapped.items()}, (g,))

    inputs = [rule.matrices[name].detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(transformed, inputs)


class Calls(torch.nn.Module):
    def __init__(self, rule: Curvature) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, g: Tensor) -> Tensor:
        return self.rule.transformed("conv.weight", g)


def test_the_rate_must_be_positive() -> None:
    with pytest.raises(SettingsError, match="inner_lr must be positive"):
        Curvature({}, 0.0)
