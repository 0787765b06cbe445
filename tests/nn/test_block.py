"""The first block of a network, whose batch norm is folded into the weights, is what its layers say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.native.kernels import kernel_lanes
from metacortex.nn import block, pooled
from metacortex.nn.block import convolution_block
from metacortex.nn.norm import BatchNorm, fused_kernels, real_rows, statistics_pass


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces although the images are few."""
    monkeypatch.setattr(pooled, "_CACHED", 1200)


@pytest.fixture(params=["", "0"], ids=["C", "PyTorch"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """By C kernels, where the number of filters allows, and without."""
    monkeypatch.setenv("METACORTEX_NATIVE", request.param)
    kernel_lanes.cache_clear()
    yield request.param
    kernel_lanes.cache_clear()


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def layers(*, stride: int = 1, affine: bool = True, channels: int = 1, filters: int = 6) -> tuple[nn.Conv2d, BatchNorm]:
    torch.manual_seed(0)
    norm = BatchNorm(filters, affine=affine)
    if norm.weight is not None and norm.bias is not None:
        nn.init.normal_(norm.weight)  # negative ones, too
        nn.init.normal_(norm.bias)
    return nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), norm


def plain(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, pool: bool) -> Tensor:
    y = norm(convolution(x))
    return F.relu(F.max_pool2d(y, 2) if pool else y)


def derivatives(way, x: Tensor, convolution: nn.Conv2d, norm: BatchNorm, pool: bool) -> list[Tensor]:
    """Value, gradient, and gradient of a function of the gradient."""
    weights = [*convolution.parameters(), *norm.parameters()]
    y = way(x, convolution, norm, pool)
    first = torch.autograd.grad(y.sin().sum(), weights, create_graph=True)
    second = torch.autograd.grad(sum(g.cos().sum() for g in first), weights)
    return [y, *first, *second]


def folded(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, pool: bool) -> Tensor:
    return convolution_block(x, convolution, norm, pool=pool)


@pytest.mark.parametrize(("pool", "stride", "size"), [(True, 1, 9), (False, 2, 8), (False, 1, 5)])
@pytest.mark.parametrize(("channels", "filters"), [(1, 6), (3, 14), (1, 40), (3, 16)])
def test_values_and_derivatives_are_those_of_the_layers(
    pool: bool, stride: int, size: int, channels: int, filters: int
) -> None:
    convolution, norm = layers(stride=stride, channels=channels, filters=filters)
    x = 5 + torch.randn(7, channels, size, size)
    assert block._folds(x, convolution, norm)
    for got, expected in zip(
        derivatives(folded, x, convolution, norm, pool), derivatives(plain, x, convolution, norm, pool), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_statistics_are_read_and_recorded() -> None:
    convolution, norm = layers()
    x = torch.randn(4, 1, 6, 6)
    recorded = []
    for way in (folded, plain):
        with statistics_pass(unbiased=True) as current:
            way(x, convolution, norm, True)
        recorded.append(current.seen[""])
    torch.testing.assert_close(recorded[0], recorded[1])
    with statistics_pass({"": (torch.randn(6), torch.rand(6))}) as current:
        torch.testing.assert_close(folded(x, convolution, norm, True), plain(x, convolution, norm, True))
    assert current.seen == {}
    torch.testing.assert_close(folded(x, convolution, norm.eval(), True), plain(x, convolution, norm, True))


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_pass_through_recorded_statistics_where_they_are_wanted(fused: bool) -> None:
    convolution, norm = layers()
    with statistics_pass() as current, fused_kernels(fused):
        folded(torch.randn(4, 1, 6, 6), convolution, norm, True)
    assert [x.requires_grad for x in current.seen[""]] == [not fused] * 2


def test_a_norm_without_weights_and_mixed_precision() -> None:
    convolution, norm = layers(affine=False)
    x = torch.randn(4, 1, 6, 6)
    expected = plain(x, convolution, norm, True)
    with torch.autocast("cpu", torch.bfloat16):
        got = folded(x, convolution, norm, True)
    torch.testing.assert_close(got, expected)


def test_it_steps_back_where_it_does_not_hold() -> None:
    convolution, norm = layers()
    x = torch.randn(4, 1, 6, 6)
    for channels, filters in ((4, 20), (2, 8)):  # 36 numbers in a patch; 18 for 8 filters
        wide, many = layers(channels=channels, filters=filters)
        assert not block._folds(torch.randn(4, channels, 6, 6), wide, many)
    assert not block._folds(x.requires_grad_(), convolution, norm)
    assert not block._folds(x.detach()[:0], convolution, norm)
    with real_rows(torch.tensor([True, True, False, True])):
        assert not block._folds(x.detach(), convolution, norm)
    seen = []
    torch.func.grad(lambda w: (seen.append(block._folds(x.detach(), convolution, norm)), w.sum())[1])(torch.ones(2))
    assert seen == [False]
    seen.clear()
    with norm.register_forward_hook(lambda *said: seen.append(said)):
        folded(x.detach(), convolution, norm, True)
    assert len(seen) == 1
    got = convolution_block(x, convolution, nn.Identity(), pool=True)
    torch.testing.assert_close(got, plain(x, convolution, nn.Identity(), True))


def test_what_is_not_a_number_stays_so() -> None:
    columns = torch.randn(9, 2, 4, 4)
    columns[3, 1, 2, 1] = torch.nan
    y = pooled.pooled_projection(torch.randn(16, 9), torch.zeros(16), columns)
    assert y[1, :, 1, 0].isnan().all()
    assert int(y.isnan().sum()) == 16


def test_kernels_are_there_unless_they_are_turned_off(way: str) -> None:
    """Otherwise the tests of this file say nothing of them."""
    assert bool(kernel_lanes(torch.float64)) == (way == "" and shutil.which("cc") is not None)


@pytest.mark.parametrize("depth", [1, 2, 4, 9, 27])
@pytest.mark.parametrize(("images", "side"), [(3, 5), (5, 13)])
@pytest.mark.parametrize("shared", [False, True])
def test_centred(depth: int, images: int, side: int, shared: bool, request: pytest.FixtureRequest) -> None:
    if shared:
        request.getfixturevalue("three_threads")
    columns = torch.rand(depth, images, side, side) + 100
    mean, covariance = columns.mean((1, 2, 3)), torch.cov(columns.flatten(1), correction=0).reshape(depth, depth)
    expected = columns - mean[:, None, None, None]
    centre, got = pooled.centred(columns)
    torch.testing.assert_close(centre, mean)
    torch.testing.assert_close(got, covariance)
    torch.testing.assert_close(columns, expected)


@pytest.mark.usefixtures("three_threads")
def test_threads_share_the_images() -> None:
    convolution, norm = layers(filters=16)
    x = torch.randn(7, 1, 9, 9)
    for got, expected in zip(
        derivatives(folded, x, convolution, norm, True), derivatives(plain, x, convolution, norm, True), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_what_is_saved_may_come_back_in_another_memory_format() -> None:
    convolution, norm = layers(filters=16)
    x = torch.randn(5, 1, 9, 9)
    with torch.autograd.graph.save_on_cpu():
        got = derivatives(folded, x, convolution, norm, True)
    for one, expected in zip(got, derivatives(folded, x, convolution, norm, True), strict=True):
        torch.testing.assert_close(one, expected)
