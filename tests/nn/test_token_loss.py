"""The fused loss of an output layer against elementary operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metacortex.learners.objective import TokenCrossEntropy
from metacortex.nn import token_loss as module
from metacortex.nn.token_loss import token_loss


def given(rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, 5), (11, 5), (11,))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def asked(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    counts = torch.rand(rows, generator=generator, dtype=torch.float64)
    return torch.randint(11, (rows,), generator=generator), counts


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [0, 1, 7, 30])
def test_equals_elementary_operations(monkeypatch: pytest.MonkeyPatch, rows: int, smoothing: float) -> None:
    monkeypatch.setattr(module, "_CACHED", 80)  # blocks of 7 rows
    (features, weight, bias), (targets, counts) = given(rows), asked(rows)
    loss, plain, chosen = token_loss(features, weight, bias, targets, counts, smoothing)
    logits = features @ weight.T + bias
    smoothed, expected = TokenCrossEntropy(smoothing).token_losses(logits, targets)
    torch.testing.assert_close(loss, (smoothed * counts).sum(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(plain, expected.detach(), rtol=1e-12, atol=1e-14)
    assert torch.equal(chosen, logits.argmax(-1))
    mine = torch.autograd.grad(3 * loss, (features, weight, bias))
    theirs = torch.autograd.grad(3 * (smoothed * counts).sum(), (features, weight, bias))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-13)


def test_gradient_by_finite_differences() -> None:
    targets, counts = asked(4)
    assert torch.autograd.gradcheck(lambda f, w, b: token_loss(f, w, b, targets, counts, 0.1)[0], given(4))


def test_under_grad_of_func_and_without_any() -> None:
    (features, weight, bias), (targets, counts) = given(6), asked(6)
    slope = torch.func.grad(lambda w: token_loss(features.detach(), w, bias.detach(), targets, counts, 0.1)[0])(
        weight.detach()
    )
    loss, *_ = token_loss(features, weight, bias, targets, counts, 0.1)
    torch.testing.assert_close(slope, torch.autograd.grad(loss, weight)[0])
    with torch.no_grad():
        assert torch.equal(token_loss(features, weight, bias, targets, counts, 0.1)[0], loss.detach())


def test_logits_beyond_exp() -> None:
    (features, weight, bias), (targets, counts) = given(3), asked(3)
    loss, plain, _ = token_loss(1e4 * features, weight, bias, targets, counts)
    assert loss.isfinite()
    assert plain.isfinite().all()


def test_a_second_derivative_is_refused() -> None:
    (features, weight, bias), (targets, counts) = given(3), asked(3)
    loss, *_ = token_loss(features, weight, bias, targets, counts)
    (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(slope.sum(), weight)
