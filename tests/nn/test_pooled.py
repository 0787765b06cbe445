"""ReLU and 2×2 maxima in C, alone and with batch norm, are those of PyTorch's layers, and so are their derivatives."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.nn.mode import capturing
from metacortex.nn.norm import BatchNorm, fused_kernels, real_rows, statistics_pass
from metacortex.nn.normed_pool import normed_pool
from metacortex.nn.pooled import pooled, pools_in_c

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

EPS = 1e-5
SIDES = [(4, 4), (5, 6), (2, 3), (7, 7)]


def images(height: int, width: int, channels: int = 16, n: int = 4) -> Tensor:
    torch.manual_seed(0)
    return 3 + 2 * torch.randn(n, channels, height, width, dtype=torch.float64)


def plain_pool(x: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(x, 2))


def plain_norm(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Written out: PyTorch's own is inexact in the third derivative."""
    mean = z.mean((0, 2, 3), keepdim=True)
    n = (z - mean) / ((z - mean).square().mean((0, 2, 3), keepdim=True) + EPS).sqrt()
    return plain_pool(n * weight[:, None, None] + bias[:, None, None])


def own_norm(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    assert pools_in_c(z)
    return normed_pool(z, weight, bias, EPS)[0]


def derivatives(way: Callable[..., Tensor], given: Sequence[Tensor], orders: int) -> list[Tensor]:
    """Value, gradients, and gradients of functions of the gradients; the last without a graph."""
    inputs = [x.clone().requires_grad_() for x in given]
    found = [y := way(*inputs)]
    total = (y**3).sum() + y.sin().sum()
    for order in range(1, orders + 1):
        slopes = torch.autograd.grad(total, inputs, create_graph=order < orders, allow_unused=True)
        slopes = [torch.zeros_like(x) if s is None else s for s, x in zip(slopes, inputs, strict=True)]
        found += slopes
        total = sum((s.cos().sum() for s in slopes), torch.zeros((), dtype=torch.float64))
    return [x.detach() for x in found]


def norm_inputs(height: int, width: int) -> list[Tensor]:
    return [images(height, width), torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maxima_of_values(side: tuple[int, int], memory_format: torch.memory_format) -> None:
    x = (images(*side) - 3).contiguous(memory_format=memory_format)
    assert pools_in_c(x)
    for got, expected in zip(derivatives(pooled, [x], 3), derivatives(plain_pool, [x], 3), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("orders", [1, 2, 3])
def test_batch_norm_and_maxima(side: tuple[int, int], orders: int) -> None:
    """The second derivative is in C without a graph of its own, and written out where there is a third."""
    given = norm_inputs(*side)
    assert pools_in_c(given[0])
    for got, expected in zip(derivatives(own_norm, given, orders), derivatives(plain_norm, given, orders), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_finite_differences() -> None:
    given = [x.requires_grad_() for x in norm_inputs(3, 4)]
    assert torch.autograd.gradcheck(own_norm, given)
    assert torch.autograd.gradgradcheck(own_norm, given)


def test_second_derivatives_in_single_precision() -> None:
    given = norm_inputs(6, 6)
    along = [torch.randn_like(x) for x in given]

    def second(way: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in given]
        first = torch.autograd.grad(way(*inputs).square().sum(), inputs, create_graph=True)
        total = sum((s * x.to(dtype)).sum() for s, x in zip(first, along, strict=True))
        return [x.double() for x in torch.autograd.grad(total, inputs)]  # type: ignore[arg-type]

    for got, expected in zip(second(own_norm, torch.float32), second(plain_norm, torch.float64), strict=True):
        assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.usefixtures("three_threads")
def test_threads_share_the_work() -> None:
    given = norm_inputs(4, 5)
    for got, expected in zip(derivatives(own_norm, given, 2), derivatives(plain_norm, given, 2), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))
    x = [images(4, 5) - 3]
    for got, expected in zip(derivatives(pooled, x, 2), derivatives(plain_pool, x, 2), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("way", [pooled, lambda x: own_norm(x, torch.ones(16).double(), torch.zeros(16).double())])
def test_what_is_not_a_number_stays_so(way: Callable[[Tensor], Tensor]) -> None:
    x = images(4, 4)
    x[1, 2, 3, 1] = torch.nan
    y = way(x)
    assert y[1, 2, 1, 0].isnan()
    assert y[:, 3].isfinite().all()


def test_the_largest_values_of_many_images_have_the_right_statistics() -> None:
    """Means far from zero lose no digits."""
    z = (1000 + torch.randn(50, 16, 9, 9)).contiguous(memory_format=torch.channels_last)
    assert pools_in_c(z)
    _, mean, var = normed_pool(z, torch.ones(16), torch.zeros(16), EPS)
    exact_var, exact_mean = torch.var_mean(z.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(mean.double(), exact_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), exact_var, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "x",
    [
        images(4, 4, channels=12),
        images(1, 4),
        images(4, 4)[:0],
        images(4, 4).to(torch.bfloat16),
        images(4, 4)[0],
    ],
)
def test_what_there_are_no_kernels_for(x: Tensor) -> None:
    assert not pools_in_c(x)
    with capturing():
        assert not pools_in_c(images(4, 4))
    torch.func.vmap(lambda x: torch.tensor(0) * x.sum() if not pools_in_c(x) else pytest.fail("in C"))(
        images(4, 4)[None]
    )


def test_weights_of_another_type_are_pytorchs_to_refuse() -> None:
    with fused_kernels(), pytest.raises(RuntimeError):
        layer().float().pooled(images(4, 4))


def layer(affine: bool = True) -> BatchNorm:
    norm = BatchNorm(16, affine=affine).double()
    if norm.weight is not None and norm.bias is not None:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return norm


def test_a_layer_records_the_same_statistics() -> None:
    norm, z, recorded = layer(), images(5, 6), []
    for way in (norm.pooled, lambda z: plain_pool(norm(z))):
        with statistics_pass(unbiased=True) as current, fused_kernels():
            y = way(z)
        recorded.append((y, *current.seen[""]))
    for got, expected in zip(*recorded, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("affine", [True, False])
def test_a_layer_that_is_told_its_statistics_masks_rows_or_may_not_fuse(affine: bool) -> None:
    norm, z = layer(affine), images(5, 6)
    given = {"": (torch.randn(16).double(), torch.rand(16).double())}

    def same() -> None:
        torch.testing.assert_close(norm.pooled(z), plain_pool(norm(z)))

    same()
    with fused_kernels():
        same()
        with statistics_pass(given):
            torch.testing.assert_close(norm.pooled(z), plain_pool(norm(z)))
        with real_rows(torch.tensor([True, True, False, True])):
            same()
        norm.eval()
        same()


def test_what_is_saved_may_come_back_in_another_memory_format() -> None:
    """As it does from `torch.autograd.graph.save_on_cpu`."""
    x, given = [images(4, 5) - 3], norm_inputs(4, 5)
    with torch.autograd.graph.save_on_cpu():
        got = [*derivatives(pooled, x, 2), *derivatives(own_norm, given, 2)]
    for one, expected in zip(got, [*derivatives(pooled, x, 2), *derivatives(own_norm, given, 2)], strict=True):
        torch.testing.assert_close(one, expected)
