"""Convolutions of 3×3 filters on a CPU with a quarter of the products.

For four by four outputs a 3×3 convolution multiplies 144 times; Winograd's algorithm F(4×4, 3×3) 36 times, after linear
transforms of inputs and filters and before one of the products:

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

which is exact but for rounding. Every derivative of a convolution is a convolution, its adjoint, or the correlation of
two images, and the three derive into each other, so that the few kernels of ``native/winograd.c`` serve to any order.

Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, §4.3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.native.kernels import Library, available, known
from metacortex.native.library import NativeError
from metacortex.native.processor import processor_flags
from metacortex.native.threads import shared, summed
from metacortex.nn.layout import channels_last, room
from metacortex.nn.mode import eager_on_cpu

__all__ = ["Conv2d"]

_CHUNK = 36
"""Tiles at a time; with 64 channels 0.3 MiB in and out, which stays in a second-level cache."""

_FEWEST_CHANNELS = 32
_SMALLEST_SIDE = 3
"""Of the outputs. Below, tiles are mostly empty."""

_FEWEST_TILES, _FILTERS_PER_TILE, _FILTERS_PER_PART = 12, 4096, 100
"""Filters are transformed at each call, and there must be tiles for which that pays: more where each is half empty."""


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, by Winograd's algorithm where that can be and is faster.

    Outputs differ from the stock layer's by rounding: about 4e-6 of the largest in float32 where those have 1e-6.

    *Differentiability*: to any order; not with ``is_grads_batched``, and forward derivatives are the stock layer's.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[N, C, H, W']`` to ``[N, filters, H'', W'']``."""
        if not _suits(input, self):
            return super().forward(input)
        y: Tensor = _Convolution.apply(input, self.weight, int(self.padding[0]), False)  # type: ignore[assignment]
        return y if self.bias is None else y + self.bias[:, None, None]

    @classmethod
    def like(cls, layer: nn.Conv2d) -> Conv2d:
        """A layer that shares everything with a stock one."""
        new = cls.__new__(cls)
        new.__dict__ = layer.__dict__.copy()
        return new


def _suits(x: Tensor, layer: Conv2d) -> bool:
    """Whether all that it takes is there."""
    return (
        layer.kernel_size == (3, 3)
        and layer.stride == (1, 1)
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and min(layer.in_channels, layer.out_channels) >= _FEWEST_CHANNELS
        and eager_on_cpu(x)  # before anything is asked of shapes, which an exporter would take down as conditions
        and not (torch.is_autocast_enabled("cpu") and _rounded_is_faster())
        and _fits(x, layer)
        and _large_enough(x, layer)
    )


def _fits(x: Tensor, layer: Conv2d) -> bool:
    """Shapes and types; what does not fit together is PyTorch's to refuse."""
    into, out, weight, bias = layer.in_channels, layer.out_channels, layer.weight, layer.bias
    kernels = _kernels(x.dtype)
    return (
        kernels is not None
        and into % kernels.lanes == 0
        and out % kernels.lanes == 0
        and x.dim() == 4
        and x.shape[1] == into
        and weight.shape == (out, into, 3, 3)
        and weight.dtype == x.dtype
        and weight.device == x.device
        and (bias is None or bias.dtype == x.dtype)
    )


def _rounded_is_faster() -> bool:
    """Matrix units for bfloat16 are; vector units multiply them twice as fast, which is less than is saved here."""
    return "amx_bf16" in (processor_flags() or ())


def _large_enough(x: Tensor, layer: Conv2d) -> bool:
    high, wide = (side + 2 * int(layer.padding[0]) - 2 for side in x.shape[2:])
    per_tile = _FILTERS_PER_TILE if min(high, wide) > _SMALLEST_SIDE else _FILTERS_PER_PART
    enough = max(_FEWEST_TILES, layer.in_channels * layer.out_channels // per_tile)
    return min(high, wide) >= _SMALLEST_SIDE and _tiles(x.shape[0], high, wide) >= enough


@available
def _kernels(dtype: torch.dtype) -> Library:
    kernels = Library(
        "winograd.c",
        dtype,
        filters="pnnnnpnn",
        unfilter="ppnnnnnn",
        convolve="pppp" + 8 * "n",
        correlate="pppp" + 8 * "n",
    )
    # Whatever mode the first caller is in, and nobody's random numbers.
    draw = torch.Generator("cpu").manual_seed(0)
    x, w = (torch.randn(*shape, dtype=dtype, generator=draw, device="cpu") for shape in ((1, 32, 5, 6), (64, 32, 3, 3)))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        gap = (_convolve(kernels, x, w, 1, False) - F.conv2d(x, w, padding=1)).abs().max()
    if not float(gap) < 1e-3:
        raise NativeError(f"the kernels compute something else here: convolutions differ by {float(gap):.1g}")
    return kernels


def _memory_of_filters(w: Tensor, adjoint: bool) -> tuple[int, ...]:
    """Where filters lie and by which steps: output and input channel, row and column; turned around for the adjoint."""
    out, into, row, column = w.stride()
    if not adjoint:
        return w.data_ptr(), out, into, row, column
    return w.data_ptr() + 2 * (row + column) * w.element_size(), into, out, -row, -column


def _convolve(kernels: Library, x: Tensor, w: Tensor, pad: int, adjoint: bool) -> Tensor:
    """See `_Convolution`."""
    x = channels_last(x)
    (n, into, height, width), out = x.shape, w.shape[1] if adjoint else w.shape[0]
    pad = 2 - pad if adjoint else pad
    u = _matrices(x, into, out, kernels.lanes)
    kernels.filters(*_memory_of_filters(w, adjoint), u, into, out)
    high, wide = height + 2 * pad - 2, width + 2 * pad - 2
    y = room(x, (high, wide), channels=out)

    def share(first: int, last: int) -> None:
        chunk = _chunk(into, out)
        memory = x.new_empty(_numbers(into, out, chunk, kernels.lanes))
        kernels.convolve(x, u, y, memory, height, width, pad, into, out, first, last, chunk)

    shared(share, _tiles(n, high, wide), _fewest(into, out))
    return y


def _correlate(kernels: Library, x: Tensor, d: Tensor, pad: int) -> Tensor:
    """See `_Correlation`."""
    x, d = channels_last(x), channels_last(d)
    (n, into, height, width), (out, high, wide) = x.shape, d.shape[1:]

    def share(first: int, last: int) -> Tensor:
        chunk = 2 * _chunk(into, out)  # here the matrices are written to for each
        u, memory = _matrices(x, into, out, kernels.lanes), x.new_empty(_numbers(into, out, chunk, kernels.lanes))
        kernels.correlate(x, d, u, memory, height, width, pad, into, out, first, last, chunk)
        return u

    # Each share has filters of its own, which are added up.
    total = summed(share, _tiles(n, high, wide), max(_fewest(into, out), _CHUNK))
    w = torch.empty((out, into, 3, 3), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    kernels.unfilter(total, w, *w.stride(), into, out)
    return w


def _tiles(n: int, high: int, wide: int) -> int:
    return n * -(-high // 4) * -(-wide // 4)


def _numbers(into: int, out: int, chunk: int, lanes: int) -> int:
    """Of memory that a chunk takes: zeros around the images, and tiles before and after the products."""
    return max(into, out) + 36 * (chunk * (into + out) + 2 * lanes)


def _matrices(like: Tensor, into: int, out: int, lanes: int) -> Tensor:
    """Room for 36 matrices, which the kernels want a vector apart."""
    return like.new_empty(36, into * out + lanes)


def _chunk(into: int, out: int) -> int:
    """With many channels the filters do not stay in the cache either, and should be read seldom."""
    return _CHUNK if into * out <= 128 * 128 else 4 * _CHUNK


_SMALLEST_SHARE = 2**19
"""Products of tiles, input and output channels for which a thread pays: 144 tiles of 64 and 64."""


def _fewest(into: int, out: int) -> int:
    return -(-_SMALLEST_SHARE // (into * out))


class _Convolution(torch.autograd.Function):
    """(x ``[N, I, H, W]``, w ``[O, I, 3, 3]``) → ``[N, O, H + 2 pad − 2, W + 2 pad − 2]``; or the adjoint of that in x.

    The adjoint maps ``[N, O, H + 2 pad − 2, W + 2 pad − 2]`` to ``[N, I, H, W]``: a convolution with the filters turned
    around, padded by 2 − pad.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, pad: int, adjoint: bool) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.pad, ctx.adjoint = pad, adjoint
        return _convolve(known(_kernels(x.dtype)), x, w, pad, adjoint)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (x, w), slope = ctx.saved_tensors, slopes[0]
        by_x = _Convolution.apply(slope, w, ctx.pad, not ctx.adjoint) if ctx.needs_input_grad[0] else None
        by_w = None
        if ctx.needs_input_grad[1]:
            pair = (slope, x) if ctx.adjoint else (x, slope)
            by_w = _Correlation.apply(*pair, ctx.pad)
        return by_x, by_w, None, None


class _Correlation(torch.autograd.Function):
    """(x ``[N, I, H, W]``, d as what comes out) → ``[O, I, 3, 3]``, the derivative of <d, w * x> in the filters w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, d: Tensor, pad: int) -> Tensor:
        ctx.save_for_backward(x, d)
        ctx.pad = pad
        return _correlate(known(_kernels(x.dtype)), x, d, pad)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (x, d), slope = ctx.saved_tensors, slopes[0]
        by_x = _Convolution.apply(d, slope, ctx.pad, True) if ctx.needs_input_grad[0] else None
        by_d = _Convolution.apply(x, slope, ctx.pad, False) if ctx.needs_input_grad[1] else None
        return by_x, by_d, None
