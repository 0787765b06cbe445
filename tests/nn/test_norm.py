"""Written-out normalisation layers against PyTorch's: values, first and second order, statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metacortex.nn.body import Body
from metacortex.nn.norm import (
    BatchNorm,
    InstanceNorm,
    LayerNorm,
    fused_kernels,
    real_rows,
    running_statistics,
    statistics_pass,
)
from metacortex.nn.own_layers import own_layers

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (6, 3)),
    "BatchNorm1d-sequence": (lambda: nn.BatchNorm1d(3), (4, 3, 5)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3, eps=1e-3), (4, 3, 2, 2)),
    "BatchNorm2d-plain": (lambda: nn.BatchNorm2d(3, affine=False), (4, 3, 2, 2)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(3), (2, 3, 2, 2, 2)),
    "LayerNorm": (lambda: nn.LayerNorm([3, 4]), (5, 3, 4)),
    "LayerNorm-no-bias": (lambda: nn.LayerNorm(4, bias=False), (5, 4)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, affine=True), (4, 3, 2, 3)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(3), (4, 3, 5)),
    "GroupNorm": (lambda: nn.GroupNorm(3, 6), (4, 6, 2)),
}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    factory, shape = LAYERS[name]
    stock = factory().double()
    for i, parameter in enumerate(stock.parameters()):
        parameter.data = draw(*parameter.shape, seed=i + 1)
    return stock, own_layers(stock), draw(*shape)


def derivatives(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, first-order gradients, and gradients of a function of the first-order ones."""
    inputs = [x.clone().requires_grad_(), *layer.parameters()]
    y = layer(inputs[0])
    first = torch.autograd.grad((y**3).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(((g - 1) ** 2).sum() for g in first), inputs)
    return [y, *first, *second]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_torch_to_second_order(name: str, fused: bool) -> None:
    stock, ours, x = make(name)
    with fused_kernels(fused):
        results = derivatives(ours, x)
    torch.testing.assert_close(results, derivatives(stock, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_second_order_under_vmap(name: str) -> None:
    """Where PyTorch's fused layers are silently wrong (functorch issue 534)."""
    _, ours, x = make(name)
    weights = {n: p.detach() for n, p in ours.named_parameters()}
    batch = torch.stack([x, draw(*x.shape, seed=9)])

    def value(x: Tensor) -> Tensor:
        return (functional_call(ours, weights, (x,)) ** 3).sum()

    def norm_of_gradient(x: Tensor) -> Tensor:
        return (grad(value)(x) ** 2).sum()

    one_by_one = torch.stack([grad(norm_of_gradient)(row) for row in batch])
    torch.testing.assert_close(vmap(grad(norm_of_gradient))(batch), one_by_one, rtol=1e-9, atol=1e-9)


def test_batch_norm_evaluates_with_its_running_statistics() -> None:
    stock, ours, x = make("BatchNorm2d")
    for layer in (stock, ours):
        layer.running_mean.copy_(draw(3))
        layer.running_var.copy_(draw(3) ** 2 + 0.1)
    torch.testing.assert_close(ours.eval()(x), stock.eval()(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.running_mean, draw(3))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_running_statistics_equal_torchs_after_several_steps(name: str, fused: bool) -> None:
    stock, _, x = make(name)
    body = Body(copy.deepcopy(stock), "running")
    for seed in range(4):
        batch = draw(*x.shape, seed=seed) * (seed + 1) + seed
        stock(batch)
        with fused_kernels(fused):
            _, seen = body(body.weights(), batch)
        for key, value in body.refreshed({0: seen}).items():
            dict(body.named_buffers())[key].copy_(value)
    (mean, var), *_ = running_statistics(body.model).values()
    torch.testing.assert_close(mean, stock.running_mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(var, stock.running_var, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
def test_padding_rows_do_not_count(fused: bool, unbiased: bool) -> None:
    layer, x = BatchNorm(3).double(), draw(4, 3, 2, 2)
    padded, mask = torch.cat([x, 100 * draw(2, 3, 2, 2)]), torch.tensor([True] * 4 + [False] * 2)
    with statistics_pass(unbiased=unbiased) as alone:
        expected = layer(x)
    with statistics_pass(unbiased=unbiased) as together, real_rows(mask), fused_kernels(fused):
        got = layer(padded)[:4]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together.seen, alone.seen, rtol=1e-12, atol=1e-12)


def test_fused_statistics_equal_the_written_out() -> None:
    layer, x = BatchNorm(3).double(), draw(4, 3, 2, 2)
    with statistics_pass() as slow:
        layer(x)
    with statistics_pass() as fast, fused_kernels():
        layer(x)
    torch.testing.assert_close(fast.seen, slow.seen, rtol=1e-9, atol=1e-9)


def test_given_statistics_are_used() -> None:
    layer, x = BatchNorm(3, eps=0.0).double(), draw(4, 3)
    given = {"": (torch.full((3,), 2.0), torch.full((3,), 4.0))}
    with statistics_pass(given):
        torch.testing.assert_close(layer(x), (x - 2) / 2, rtol=1e-12, atol=1e-12)


class OwnForward(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_writing_out_leaves_the_model_and_keeps_ties() -> None:
    shared = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Linear(4, 4), shared, nn.Sequential(shared), shared, OwnForward(4), nn.LayerNorm(4))
    types = [type(m) for m in model.modules()]
    copied = own_layers(model)
    assert [type(m) for m in model.modules()] == types
    assert isinstance(copied[1], BatchNorm)
    assert copied[1] is copied[2][0] is copied[3]
    assert type(copied[4]) is OwnForward
    assert isinstance(copied[5], LayerNorm)
    assert isinstance(own_layers(nn.InstanceNorm2d(3)), InstanceNorm)
    assert set(copied.state_dict()) == {k for k in model.state_dict() if "num_batches" not in k or k.startswith("4.")}
    assert not {p.data_ptr() for p in copied.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_untracked_statistics_follow_the_layers_dtype() -> None:
    layer = own_layers(nn.BatchNorm1d(3, track_running_stats=False).double())
    assert layer.running_mean.dtype == torch.float64


class Twice(nn.Module):
    """One layer at two depths, where its inputs have different statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.between = nn.BatchNorm1d(3), nn.Linear(3, 3)
        nn.init.constant_(self.norm.bias, 0.7)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(3 * torch.tanh(self.between(self.norm(x))) + 1)


@pytest.mark.parametrize("fused", [False, True])
def test_a_layer_applied_twice_follows_both_applications_as_torchs_does(fused: bool) -> None:
    torch.manual_seed(0)
    stock = Twice().double()
    running, stepwise = Body(stock, "running"), Body(stock, "per-step", 0)
    for seed in range(3):
        batch = draw(5, 3, seed=seed)
        stock(batch)
        for body in (running, stepwise):
            with fused_kernels(fused):
                _, seen = body(body.weights(), batch)
            for key, value in body.refreshed({0: seen}).items():
                dict(body.named_buffers())[key].copy_(value)
    (mean, var), *_ = running_statistics(running.model).values()
    torch.testing.assert_close((mean, var), (stock.norm.running_mean, stock.norm.running_var), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(stepwise.mean_norm[0], stock.norm.running_mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(stepwise.var_norm[0], stock.norm.running_var, rtol=1e-10, atol=1e-10)


def test_a_layer_applied_twice_keeps_the_statistics_of_each_application() -> None:
    torch.manual_seed(0)
    body, x = Body(Twice().double()), draw(5, 3)
    expected, seen = body.observe(body.weights(), x)
    assert set(seen) == {"norm", "norm#2"}
    got = torch.cat([body(body.weights(), row[None], seen)[0] for row in x])
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    last = {"norm": seen["norm#2"]}
    assert not torch.allclose(body(body.weights(), x, last)[0], expected)
