"""Convolutions with fewer products are convolutions, to the second derivative."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from metacortex.native.kernels import kernel_lanes
from metacortex.nn import winograd
from metacortex.nn.body import Body
from metacortex.nn.mode import capturing
from metacortex.nn.winograd import Conv2d

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def convolved(x: Tensor, layer: nn.Conv2d) -> Tensor:
    return Conv2d.like(layer)(x)


def layer(into: int = 32, out: int = 48, pad: int = 1, dtype: torch.dtype = torch.float64, **options) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(into, out, 3, padding=pad, dtype=dtype, **options)


def image(n: int = 4, into: int = 32, height: int = 8, width: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, into, height, width, dtype=dtype, generator=torch.Generator().manual_seed(1))


def plain(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    return convolution(x)


def derivatives(way: Callable[[Tensor, nn.Conv2d], Tensor], x: Tensor, convolution: nn.Conv2d) -> list[Tensor]:
    """Value, gradients, and gradients of a function of the gradients."""
    x = x.clone().requires_grad_()
    inputs = [x, *convolution.parameters()]
    y = way(x, convolution)
    first = torch.autograd.grad((y**3).mean(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in first), inputs, allow_unused=True)
    return [y, *first, *(g for g in second if g is not None)]


def used(x: Tensor, convolution: nn.Conv2d) -> bool:
    return winograd._suits(x, Conv2d.like(convolution))


@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (6, 7), (13, 10)])
def test_values_and_derivatives(pad: int, height: int, width: int) -> None:
    x, convolution = image(height=height, width=width, n=12), layer(pad=pad)
    assert used(x, convolution)
    for got, expected in zip(derivatives(convolved, x, convolution), derivatives(plain, x, convolution), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_small_images() -> None:
    x, convolution = image(height=3, width=3, n=15), layer()
    assert used(x, convolution)
    for got, expected in zip(derivatives(convolved, x, convolution), derivatives(plain, x, convolution), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("into", "out"), [(32, 32), (64, 96), (160, 48), (144, 160)])
def test_numbers_of_channels(into: int, out: int) -> None:
    x, convolution = image(into=into, n=6), layer(into, out, bias=False)
    assert used(x, convolution)
    for got, expected in zip(derivatives(convolved, x, convolution), derivatives(plain, x, convolution), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_memory_format(memory_format: torch.memory_format) -> None:
    x, convolution = image(), layer()
    expected = convolution(x)
    convolution.weight.data = convolution.weight.data.contiguous(memory_format=memory_format)
    got = convolved(x.contiguous(memory_format=memory_format), convolution)
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_rounding_in_single_precision() -> None:
    x, convolution = image(n=20, into=64, height=14, width=14, dtype=torch.float32), layer(64, 64, dtype=torch.float32)
    exact = layer(64, 64).requires_grad_(False)
    exact.load_state_dict(convolution.state_dict())
    expected = exact(x.double())
    gap = (convolved(x, convolution).detach() - expected).abs().max() / expected.abs().max()
    assert 1e-7 < float(gap) < 1e-5


@pytest.mark.usefixtures("three_threads")
def test_threads_share_the_tiles() -> None:
    x, convolution = image(n=9), layer()
    for got, expected in zip(derivatives(convolved, x, convolution), derivatives(plain, x, convolution), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("x", "convolution"),
    [
        (image(), layer(padding_mode="circular")),
        (image(), layer(stride=2)),
        (image(), layer(groups=4)),
        (image(), layer(dilation=2)),
        (image(), nn.Conv2d(32, 48, 5, dtype=torch.float64)),
        (image(), layer(pad=3)),
        (image(into=16), layer(16)),
        (image(into=36), layer(36, 36)),
        (image(height=3, width=3, n=14), layer()),  # fourteen, half empty
        (image(height=2, width=2, n=50), layer()),
        (image(n=1), layer()),  # six tiles
        (image(n=6, into=512), layer(512, 512)),
        (image()[:0], layer()),
        (image()[0], layer()),
        (image(dtype=torch.bfloat16), layer(dtype=torch.bfloat16)),
    ],
)
def test_what_it_is_not_for(x: Tensor, convolution: nn.Conv2d) -> None:
    assert not used(x, convolution)
    torch.testing.assert_close(convolved(x, convolution), convolution(x))


def test_transforms_and_recordings_see_the_layer() -> None:
    x, convolution = image(n=12, dtype=torch.float32), layer(dtype=torch.float32)
    said: list[bool] = []

    def asked(x: Tensor) -> Tensor:
        said.append(used(x, convolution))
        return convolved(x, convolution)

    torch.testing.assert_close(torch.func.vmap(asked)(x[None])[0], convolution(x))
    with capturing():
        asked(x)
    assert said == [False] * 2


@pytest.mark.parametrize(("flags", "dtype"), [({"amx_bf16"}, torch.bfloat16), ({"avx512_bf16"}, torch.float32)])
def test_rounding_only_where_it_is_faster(flags: set[str], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "processor_flags", lambda: flags)
    x, convolution = image(n=12, dtype=torch.float32), layer(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolved(x, convolution)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), convolution(x), rtol=2e-2, atol=2e-2)


def test_models_of_learners_have_it_where_nobody_wrote_another() -> None:
    class Own(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    shared, normed = nn.Conv2d(32, 32, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(32, 32, 3))
    body = Body(nn.Sequential(shared, nn.ReLU(), shared, Own(32, 32, 3), normed))
    first, _, again, own, reparametrised = body.model
    assert type(reparametrised) is type(normed)
    assert type(first) is Conv2d
    assert first is again
    assert type(own) is Own
    assert type(shared) is nn.Conv2d
    assert first.weight is not shared.weight


def test_whoever_comes_first_finds_the_kernels_and_loses_no_random_numbers() -> None:
    kernel_lanes.cache_clear()
    before = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        assert kernel_lanes(torch.float32) > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("x", "convolution"),
    [
        (image(into=64), layer(32)),
        (image(into=40), layer(64)),
        (image().float(), layer()),
        (image(), layer(dtype=torch.float32)),
    ],
)
def test_what_does_not_fit_together_is_refused_as_ever(x: Tensor, convolution: nn.Conv2d) -> None:
    with pytest.raises(RuntimeError) as stock:
        convolution(x)
    with pytest.raises(RuntimeError) as own:
        convolved(x, convolution)
    assert str(own.value) == str(stock.value)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:DeprecationWarning"
)  # PyTorch's own, in what it loads for them
def test_forward_derivatives_and_traces_are_those_of_the_layer() -> None:
    x, convolution = image(n=12), layer()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        got = torch.autograd.forward_ad.unpack_dual(convolved(dual, convolution)).tangent
        expected = torch.autograd.forward_ad.unpack_dual(convolution(dual)).tangent
    assert got is not None
    assert expected is not None
    torch.testing.assert_close(got, expected)
    program = torch.export.export(
        Conv2d.like(convolution), (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    ).module()
    torch.testing.assert_close(program(x[:1]), convolution(x[:1]))


def test_shared_containers_keep_their_own_layers() -> None:
    """Numbers of objects that are gone are given to new ones."""

    def part(value: float) -> nn.Sequential:
        new = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False))
        nn.init.constant_(new[0].weight, value)
        return new

    for _ in range(20):
        shared = part(2)
        body = Body(nn.Sequential(*(part(1) for _ in range(5)), shared, shared))
        assert [float(layer[0].weight.detach().max()) for layer in body.model] == [1] * 5 + [2] * 2


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("METACORTEX_NATIVE", "0")
    kernel_lanes.cache_clear()
    yield
    kernel_lanes.cache_clear()


@pytest.mark.usefixtures("without_kernels")
def test_without_a_compiler_the_layer_computes() -> None:
    x, convolution = image(n=12), layer()
    assert not used(x, convolution)
    torch.testing.assert_close(convolved(x, convolution), convolution(x), rtol=0, atol=0)
