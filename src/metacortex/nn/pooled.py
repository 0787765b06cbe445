"""ReLU of 2×2 maxima: of values, and of a linear map of patches without its outputs, the largest tensor of all.

    y = max(0, max over four places of x),   x = w·p + b

Derivatives of any order need to know which of the four places won, and two maps that are each other's
adjoint: picking the values at these places, and scattering (or for w and b collecting) slopes from there. C kernels
compute them, ``native/pooled.c``; without a compiler PyTorch's do, those of the linear map a few images at a time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.native.kernels import Library, available, known
from metacortex.native.threads import shared, summed
from metacortex.nn.layout import channels_last, room
from metacortex.nn.mode import eager_on_cpu

__all__ = ["centred", "pooled", "pooled_projection"]

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
    if not _values_in_c(x):
        return F.relu(F.max_pool2d(x, 2))
    y: Tensor = _PooledValues.apply(x)  # type: ignore[assignment]
    return y


def _values_in_c(x: Tensor) -> bool:
    if not eager_on_cpu(x) or x.dim() != 4 or min(x.shape[2:]) < 2 or x.numel() == 0:
        return False
    c = _in_c(x.dtype)
    return c is not None and x.shape[1] % c.c.lanes == 0


class _PooledValues(torch.autograd.Function):
    """``[N, C, H, W]`` → ``[N, C, H//2, W//2]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, places = known(_in_c(x.dtype)).pool_values(x)
        ctx.save_for_backward(places)
        ctx.side = x.shape[2:]
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Scattered.apply(slopes[0], *ctx.saved_tensors, ctx.side)


class _Scattered(torch.autograd.Function):
    """Slopes ``[N, C, H//2, W//2]`` at their places in ``[N, C, H, W]``, or the adjoint of that."""

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, places: Tensor, side: tuple[int, int] | None) -> Tensor:
        ctx.save_for_backward(places)
        ctx.side = None if side is not None else slopes.shape[2:]
        c = known(_in_c(slopes.dtype))
        return c.pick_values(slopes, places) if side is None else c.scatter_values(slopes, places, side)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Scattered.apply(slopes[0], *ctx.saved_tensors, ctx.side), None, None


def centred(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Take the mean of each row away, in place.

    Args:
        columns: patches ``[D, N, H, W]``, contiguous; a constant.

    Returns:
        The means ``[D]`` and the covariance ``[D, D]``, divided by the number of patches.
    """
    c = _in_c(columns.dtype)
    if c is not None and columns.is_contiguous():
        return c.centre(columns)
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
    y: Tensor = _Pooled.apply(torch.cat([weights.t(), shift[None]]), columns)  # type: ignore[assignment]
    return y


class _Pooled(torch.autograd.Function):
    """(w over b ``[D + 1, F]``, columns) → ``[N, F, H//2, W//2]``."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, columns: Tensor) -> Tensor:
        pooled, *places = _ways(weights, columns).pool(weights.contiguous(), columns)
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
        return _ways(slopes, columns).collect(channels_last(slopes), columns, *places)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Picked.apply(slopes[0], *ctx.saved_tensors), *[None] * len(ctx.saved_tensors)


class _Picked(torch.autograd.Function):
    """The map's outputs at the places: from ``[D + 1, F]`` to ``[N, F, H//2, W//2]``; the derivative of the maxima."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, columns: Tensor, *places: Tensor) -> Tensor:
        ctx.save_for_backward(columns, *places)
        return _ways(weights, columns).pick(weights.contiguous(), columns, *places)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Collected.apply(slopes[0], *ctx.saved_tensors), *[None] * len(ctx.saved_tensors)


def _like(weights: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for the outputs."""
    return room(columns.transpose(0, 1), (columns.shape[2] // 2, columns.shape[3] // 2), dtype, weights.shape[1])


class _InC:
    """The three maps in C; which place won is a byte for each output, 4 where the ReLU is closed."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.c = Library(
            "pooled.c",
            dtype,
            pool="ppppnnnnnnn",
            pick="ppppnnnnnnn",
            collect="pppppnnnnnnn",
            sum_columns="ppnnnn",
            centre_columns="pppnnnn",
            pool_values="pppnnnnn",
            pick_values="pppnnnnn",
            scatter_values="pppnnnnn",
        )

    def pool(self, weights: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and places."""
        pooled, places = (_like(weights, columns, dtype) for dtype in (weights.dtype, torch.int8))
        self._run(self.c.pool, weights, columns, pooled, places)
        return pooled, places

    def pick(self, weights: Tensor, columns: Tensor, places: Tensor) -> Tensor:
        """The outputs at these places."""
        picked = _like(weights, columns, weights.dtype)
        self._run(self.c.pick, weights, columns, picked, places)
        return picked

    def collect(self, slopes: Tensor, columns: Tensor, places: Tensor) -> Tensor:
        """Their adjoint."""
        (depth, images, *side), filters = columns.shape, slopes.shape[1]

        def share(first: int, last: int) -> Tensor:
            total = slopes.new_empty(depth + 1, filters)
            memory = slopes.new_empty(depth + 1, self.c.lanes)
            self.c.collect(columns, total, slopes, places, memory, depth, images, *side, filters, first, last)
            return total

        return summed(share, images, _fewest(columns, filters))

    def centre(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """See `centred`."""
        depth, images, *side = columns.shape
        count = columns[0].numel()

        def total(first: int, last: int) -> Tensor:
            sums = columns.new_empty(depth)
            self.c.sum_columns(columns, sums, depth, count, first * count // images, last * count // images)
            return sums

        def products(first: int, last: int) -> Tensor:
            sums = columns.new_empty(depth, depth)
            self.c.centre_columns(columns, centre, sums, depth, count, first * count // images, last * count // images)
            return sums

        fewest = 1 + _FEWEST_VALUES // max(1, depth * count // images)
        centre = summed(total, images, fewest) / count
        return centre, summed(products, images, fewest) / count

    def pool_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maxima and places."""
        half = (x.shape[2] // 2, x.shape[3] // 2)
        y, places = room(x, half), room(x, half, torch.int8)
        self._run_values(self.c.pool_values, x, y, places)
        return y, places

    def pick_values(self, x: Tensor, places: Tensor) -> Tensor:
        """The values at these places."""
        y = room(x, (x.shape[2] // 2, x.shape[3] // 2))
        self._run_values(self.c.pick_values, x, y, places)
        return y

    def scatter_values(self, y: Tensor, places: Tensor, side: tuple[int, int]) -> Tensor:
        """Its adjoint."""
        y = channels_last(y)
        x = room(y, side)
        self._run_values(self.c.scatter_values, x, y, places)
        return x

    def _run_values(self, function: Any, x: Tensor, y: Tensor, places: Tensor) -> None:
        x, places = channels_last(x), channels_last(places)

        def share(first: int, last: int) -> None:
            function(x, y, places, x.shape[2], x.shape[3], x.shape[1], first, last)

        shared(share, x.shape[0], 1 + _FEWEST_VALUES // max(1, x[0].numel()))

    def _run(self, function: Any, weights: Tensor, columns: Tensor, pooled: Tensor, places: Tensor) -> None:
        (depth, images, *side), filters = columns.shape, weights.shape[1]

        def share(first: int, last: int) -> None:
            function(columns, weights, pooled, places, depth, images, *side, filters, first, last)

        shared(share, images, _fewest(columns, filters))


_FEWEST_VALUES = 2**19
"""Numbers for which a thread pays."""


def _fewest(columns: Tensor, filters: int) -> int:
    """Images for which a thread pays: a quarter of a millisecond."""
    return 1 + 2**23 // max(1, filters * columns[:, 0].numel())


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

    def pool(self, weights: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs and places."""
        pooled, places = (_like(weights, columns, dtype) for dtype in (weights.dtype, torch.int64))
        for a, b in self._pieces(columns, weights.shape[1]):
            y = self._projected(weights, columns, a, b)
            _aten.max_pool2d_with_indices.out(y, [2, 2], [2, 2], out=pooled[a:b], indices=places[a:b])
        pooled = F.relu_(pooled)
        return pooled, places, pooled > 0

    def collect(self, slopes: Tensor, columns: Tensor, places: Tensor, is_open: Tensor) -> Tensor:
        """The adjoint of `pick`."""
        slopes = channels_last(slopes * is_open)
        filters, (height, width) = slopes.shape[1], columns.shape[2:]
        # [D, F]: with both factors row by row; the transposed product takes up to fifteen times as long.
        total = slopes.new_zeros(columns.shape[0], filters)
        for a, b in self._pieces(columns, filters):
            whole = slopes.new_empty(b - a, height, width, filters).permute(0, 3, 1, 2)
            _aten.max_pool2d_with_indices_backward.grad_input(
                slopes[a:b], whole, [2, 2], [2, 2], [0, 0], [1, 1], False, places[a:b], grad_input=whole
            )
            flat = whole.permute(0, 2, 3, 1).reshape(-1, filters)  # [n*H*W, F]
            with torch.autocast("cpu", enabled=False):
                total.addmm_(columns[:, a:b].flatten(1), flat)
        return torch.cat([total, slopes.sum((0, 2, 3))[None]])

    def pick(self, weights: Tensor, columns: Tensor, places: Tensor, is_open: Tensor) -> Tensor:
        """The outputs at these places."""
        picked = torch.empty_like(places, dtype=weights.dtype)
        for a, b in self._pieces(columns, weights.shape[1]):
            y = self._projected(weights, columns, a, b).permute(0, 2, 3, 1).flatten(1, 2)  # [n, H*W, F]
            where = places[a:b].permute(0, 2, 3, 1)  # [n, H//2, W//2, F]
            found = y.gather(1, where.flatten(1, 2)).view(where.shape)
            picked[a:b].copy_(found.permute(0, 3, 1, 2))
        return picked * is_open


def _ways(filters_second: Tensor, columns: Tensor) -> _InC | _InPieces:
    """How to compute for a tensor whose second dimension is the filters."""
    c = _in_c(columns.dtype)
    suits = c is not None and filters_second.dtype == columns.dtype and filters_second.shape[1] % c.c.lanes == 0
    return c if c is not None and suits and min(columns.shape[2:]) > 1 else _InPieces()


_in_c = available(_InC)
