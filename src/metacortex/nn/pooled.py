"""ReLU of 2×2 maxima: of values, and of a linear map of patches without its outputs, the largest tensor of all.

    y = max(0, max over four places of x),   x = w·p + b

Derivatives of any order need to know which of the four places won, and two maps that are each other's
adjoint: picking the values at these places, and scattering (or for w and b collecting) slopes from there. C kernels
compute them, ``native/pooled.c``; where there are none PyTorch's do, those of the linear map a few images at a time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.native.kernels import kernels_take
from metacortex.nn.mode import eager_on_cpu

__all__ = ["centred", "pooled", "pooled_projection", "pools_in_c"]

_CACHED = 2**18
"""Numbers of one piece of the outputs: 1 MiB of float32, half of a usual second-level cache or less."""

_aten = torch.ops.aten


def pooled(x: Tensor) -> Tensor:
    """ReLU(max_pool2d(x, 2)).

    Args:
        x: ``[N, C, H, W]``.

    Returns:
        ``[N, C, H//2, W//2]``.

    *Differentiability*: to any order.
    """
    # Maximum and ReLU commute: pooling first leaves a quarter of the work to the ReLU.
    if not pools_in_c(x):
        return F.relu(F.max_pool2d(x, 2))
    return torch.ops.metacortex.maxima(x)


def pools_in_c(x: Tensor) -> bool:
    """Whether there are kernels that take 2×2 maxima of a tensor."""
    return (
        eager_on_cpu(x)
        and x.dim() == 4
        and min(x.shape[2:]) >= 2
        and x.numel() > 0
        and kernels_take(x.dtype, x.shape[1])
    )


def centred(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Take the mean of each row away, in place.

    Args:
        columns: patches ``[D, N, H, W]``, contiguous; a constant.

    Returns:
        The means ``[D]`` and the covariance ``[D, D]``, divided by the number of patches.
    """
    if kernels_take(columns.dtype) and columns.is_contiguous():
        return torch.ops.metacortex.centre_(columns)
    centre = columns.mean((1, 2, 3))
    flat = columns.sub_(centre[:, None, None, None]).flatten(1)  # so that no digits cancel in the products
    return centre, flat @ flat.t() / flat.shape[1]


def pooled_projection(weights: Tensor, shift: Tensor, columns: Tensor) -> Tensor:
    """ReLU(max_pool2d(w·p + b, 2)).

    Args:
        weights: w ``[F, D]``.
        shift: b ``[F]``.
        columns: patches ``[D, N, H, W]``, contiguous; a constant.

    Returns:
        ``[N, F, H//2, W//2]``, channels-last.

    *Differentiability*: to any order in w and b.
    """
    both = torch.cat([weights.t(), shift[None]])
    if both.dtype == columns.dtype and min(columns.shape[2:]) > 1 and kernels_take(both.dtype, both.shape[1]):
        return torch.ops.metacortex.projected(both, columns)
    y: Tensor = _Pooled.apply(both, columns)  # type: ignore[assignment]
    return y


class _Pooled(torch.autograd.Function):
    """(w over b ``[D + 1, F]``, columns) → ``[N, F, H//2, W//2]``."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, columns: Tensor) -> Tensor:
        pooled, *places = _InPieces.pool(weights, columns)
        ctx.save_for_backward(columns, *places)
        return pooled

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Collected.apply(slopes[0], *ctx.saved_tensors), None


class _Collected(torch.autograd.Function):
    """The adjoint of picking at the places: from ``[N, F, H//2, W//2]`` to ``[D + 1, F]``."""

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, columns: Tensor, *places: Tensor) -> Tensor:
        ctx.save_for_backward(columns, *places)
        return _InPieces.collect(slopes, columns, *places)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Picked.apply(slopes[0], *ctx.saved_tensors), *[None] * len(ctx.saved_tensors)


class _Picked(torch.autograd.Function):
    """The map's outputs at the places: from ``[D + 1, F]`` to ``[N, F, H//2, W//2]``; the derivative of the maxima."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, columns: Tensor, *places: Tensor) -> Tensor:
        ctx.save_for_backward(columns, *places)
        return _InPieces.pick(weights, columns, *places)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Collected.apply(slopes[0], *ctx.saved_tensors), *[None] * len(ctx.saved_tensors)


def _like(weights: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for the outputs, channels-last."""
    shape = (columns.shape[1], weights.shape[1], columns.shape[2] // 2, columns.shape[3] // 2)
    return torch.empty(shape, dtype=dtype, device=columns.device, memory_format=torch.channels_last)


class _InPieces:
    """The three maps by PyTorch; places are where ``max_pool2d`` says, and whether the ReLU is open."""

    @staticmethod
    def _pieces(columns: Tensor, filters: int) -> list[tuple[int, int]]:
        count, area = columns.shape[1], columns.shape[2] * columns.shape[3]
        size = max(1, _CACHED // (area * filters))
        return [(a, min(a + size, count)) for a in range(0, count, size)]

    @staticmethod
    def _projected(weights: Tensor, columns: Tensor, a: int, b: int) -> Tensor:
        """``[n, F, H, W]`` channels-last: the map's outputs for images a to b."""
        with torch.autocast("cpu", enabled=False):
            y = torch.addmm(weights[-1], columns[:, a:b].flatten(1).t(), weights[:-1])
        return y.view(b - a, *columns.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def pool(weights: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs and places."""
        pooled, places = (_like(weights, columns, dtype) for dtype in (weights.dtype, torch.int64))
        for a, b in _InPieces._pieces(columns, weights.shape[1]):
            y = _InPieces._projected(weights, columns, a, b)
            _aten.max_pool2d_with_indices.out(y, [2, 2], [2, 2], out=pooled[a:b], indices=places[a:b])
        pooled = F.relu_(pooled)
        return pooled, places, pooled > 0

    @staticmethod
    def collect(slopes: Tensor, columns: Tensor, places: Tensor, is_open: Tensor) -> Tensor:
        """The adjoint of `pick`."""
        slopes = (slopes * is_open).contiguous(memory_format=torch.channels_last)
        filters, (height, width) = slopes.shape[1], columns.shape[2:]
        # [D, F]: with both factors row by row; the transposed product takes up to fifteen times as long.
        total = slopes.new_zeros(columns.shape[0], filters)
        for a, b in _InPieces._pieces(columns, filters):
            whole = slopes.new_empty(b - a, height, width, filters).permute(0, 3, 1, 2)
            _aten.max_pool2d_with_indices_backward.grad_input(
                slopes[a:b], whole, [2, 2], [2, 2], [0, 0], [1, 1], False, places[a:b], grad_input=whole
            )
            flat = whole.permute(0, 2, 3, 1).reshape(-1, filters)  # [n*H*W, F]
            with torch.autocast("cpu", enabled=False):
                total.addmm_(columns[:, a:b].flatten(1), flat)
        return torch.cat([total, slopes.sum((0, 2, 3))[None]])

    @staticmethod
    def pick(weights: Tensor, columns: Tensor, places: Tensor, is_open: Tensor) -> Tensor:
        """The outputs at these places."""
        picked = torch.empty_like(places, dtype=weights.dtype)
        for a, b in _InPieces._pieces(columns, weights.shape[1]):
            y = _InPieces._projected(weights, columns, a, b).permute(0, 2, 3, 1).flatten(1, 2)  # [n, H*W, F]
            where = places[a:b].permute(0, 2, 3, 1)  # [n, H//2, W//2, F]
            found = y.gather(1, where.flatten(1, 2)).view(where.shape)
            picked[a:b].copy_(found.permute(0, 3, 1, 2))
        return picked * is_open
