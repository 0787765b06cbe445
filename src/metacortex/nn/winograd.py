"""Convolutions of 3×3 filters on a CPU with a quarter of the products.

For four by four outputs a 3×3 convolution multiplies 144 times; Winograd's algorithm F(4×4, 3×3) 36 times, after linear
transforms of inputs and filters and before one of the products:

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

which is exact but for rounding. Every derivative of a convolution is a convolution, its adjoint, or the correlation of
two images, and the three derive into each other, so that the few kernels of ``native/winograd.c`` serve to any order.

Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, §4.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metacortex.native.kernels import kernels_take
from metacortex.native.processor import processor_flags
from metacortex.nn.mode import eager_on_cpu

__all__ = ["Conv2d"]

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
        y = torch.ops.metacortex.convolution(input, self.weight, int(self.padding[0]))
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
    return (
        kernels_take(x.dtype, into, out)
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


def _tiles(n: int, high: int, wide: int) -> int:
    return n * -(-high // 4) * -(-wide // 4)
