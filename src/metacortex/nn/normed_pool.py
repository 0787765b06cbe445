"""Batch norm with its own statistics, 2×2 maxima and ReLU as one on a CPU, to the second derivative.

    n = (z − E[z]) r,  r = 1/√(Var[z] + eps),  y = max(0, max over four places of n·γ + β)

One after the other these read and write tensors of the size of z some ten times, forward and backward, and more often
for the second derivative, which takes longer than computing. As one, y and the derivative in z are all that is written.

With G the slopes g of y at the places that won and zero elsewhere, R values a channel and a = γ·r,

    dz = a (G − ΣG/R − n Σ(G·n)/R),  dγ = Σ G·n,  dβ = Σ G                                                    (1)

and with slopes h, h', h'' of these three, A = Σh, B = Σ h·n, S = ΣG, T = Σ G·n, p = h' − a B/R and q = h'' − a A/R,

    dg = a h + p n + q  at the places                                                                          (2)
    da = Σ h·G − (B T + A S)/R,  dγ = r da
    dn = p G − (a T/R) h,  dz = r (dn − Σdn/R − n Σ(dn·n)/R) − γ da r² n/R

Reference: Ioffe and Szegedy, "Batch Normalization", 2015, §3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.native.kernels import Library, available, known
from metacortex.native.threads import summed
from metacortex.nn.layout import channels_last, room
from metacortex.nn.mode import eager_on_cpu

__all__ = ["normed_pool", "normed_pool_suits"]


def normed_pool(z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """ReLU(max_pool2d(batch_norm(z), 2)).

    Args:
        z: ``[N, C, H, W]``, of which `normed_pool_suits` is true.
        weight: γ ``[C]``.
        bias: β ``[C]``.
        eps: added to the variance.

    Returns:
        y ``[N, C, H//2, W//2]``, mean ``[C]`` and variance ``[C]``, the latter divided by the number of values.

    *Differentiability*: y to any order (beyond the second slowly), mean and variance not at all.
    """
    return _Normed.apply(z, weight, bias, eps)  # type: ignore[return-value]


def normed_pool_suits(z: Tensor) -> bool:
    """Whether there are kernels for a tensor."""
    if z.dim() != 4 or z.shape[0] == 0 or min(z.shape[2:]) < 2 or not eager_on_cpu(z):
        return False
    kernels = _kernels(z.dtype)
    return kernels is not None and z.shape[1] % kernels.lanes == 0


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        kernels, whole = known(_kernels(z.dtype)), channels_last(z)
        layer = kernels.standard(whole, weight, eps)
        y, places = kernels.pool(whole, layer, bias)
        ctx.save_for_backward(z, weight, places, layer)
        mean, var = layer[0], layer[1]
        ctx.mark_non_differentiable(mean, var)
        ctx.eps = eps
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        dz, dweight, dbias = _Back.apply(slopes[0], *ctx.saved_tensors, ctx.eps)  # type: ignore[misc]
        return dz, dweight, dbias, None


class _Back(torch.autograd.Function):
    """(1), from g, z and γ."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, z: Tensor, weight: Tensor, places: Tensor, layer: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernels, some, whole, places = known(_kernels(z.dtype)), *(channels_last(x) for x in (g, z, places))
        sums, dz = kernels.first(some, places, whole, layer)
        ctx.save_for_backward(g, z, weight, places, layer, sums)
        ctx.eps = eps
        return dz, sums[1], sums[0]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        g, z, weight, places, layer, sums = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_written_out(g, z, weight, places, ctx.eps, slopes), None, None, None
        h, of_dweight, of_dbias = slopes
        g, z, h, places = (channels_last(x) for x in (g, z, h, places))
        dg, dz, dweight = known(_kernels(z.dtype)).second(g, places, h, z, layer, sums, of_dweight, of_dbias)
        return dg, dz, dweight, None, None, None


def _written_out(
    g: Tensor, z: Tensor, weight: Tensor, places: Tensor, eps: float, slopes: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """(2) as the derivative of (1) in operations that can be differentiated further."""
    axes, (height, width) = (0, 2, 3), z.shape[2:]

    def first(g: Tensor, z: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        corners = [(places == k).to(g.dtype) * g for k in range(4)]
        rows = [torch.stack(pair, -1).flatten(3) for pair in (corners[:2], corners[2:])]  # [N, C, H//2, 2 (W//2)]
        whole = torch.stack(rows, 3).flatten(2, 3)
        whole = F.pad(whole, (0, width - whole.shape[3], 0, height - whole.shape[2]))
        var, mean = torch.var_mean(z, axes, correction=0, keepdim=True)
        r = torch.rsqrt(var + eps)
        n = (z - mean) * r
        part = weight[:, None, None] * r * (whole - whole.mean(axes, True) - n * (whole * n).mean(axes, True))
        return part, (whole * n).sum(axes), whole.sum(axes)

    return torch.func.vjp(first, g, z, weight)[1](slopes)  # type: ignore[operator]


class _Kernels:
    """``native/normed.c`` for one type of numbers; a ``layer`` is mean, variance, r and a, ``[4, C]``."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._c = Library(
            "normed.c",
            dtype,
            moments="ppnnn",
            moments_with="ppppnnn",
            standard="ppppndn",
            pool_normed="pppppnnnnn",
            slopes_of="pppppnnnnn",
            first_factors="pppnn",
            second_factors="pppppnn",
            third_factors="ppppppnn",
            spread_slopes="pppppppnnnnn",
            pick_slopes="ppppppppnnnnn",
        )
        self.lanes = self._c.lanes

    def standard(self, z: Tensor, weight: Tensor, eps: float) -> Tensor:
        """What belongs to the layer."""
        sums, layer = self._run(self._c.moments, z, (z,), (), 2, _rows(z)), z.new_empty(4, z.shape[1])
        self._c.standard(z, sums, weight.contiguous(), layer, _count(z), eps, z.shape[1])
        return layer

    def pool(self, z: Tensor, layer: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and places."""
        half = (z.shape[2] // 2, z.shape[3] // 2)
        y, places = room(z, half), room(z, half, torch.int8)
        self._run(self._c.pool_normed, z, (z, layer, bias.contiguous()), (y, places), 0, _images(z))
        return y, places

    def first(self, g: Tensor, places: Tensor, z: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
        """(1): dβ and dγ ``[2, C]``, and dz."""
        sums, factors = self._run(self._c.slopes_of, z, (g, places, z, layer), (), 2, _images(z)), torch.empty_like(layer)
        self._c.first_factors(layer, sums, factors, _count(z), z.shape[1])
        return sums, self._spread(g, places, None, z, layer, factors)

    def second(
        self,
        g: Tensor,
        places: Tensor,
        h: Tensor,
        z: Tensor,
        layer: Tensor,
        sums: Tensor,
        of_dweight: Tensor,
        of_dbias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(2): dg, dz and dγ, from the slopes of dz, dγ and dβ and the sums that are the latter two."""
        own, factors = self._run(self._c.moments_with, z, (h, z, layer), (), 2, _rows(z)), torch.empty_like(layer)
        of_dweight, of_dbias = of_dweight.contiguous(), of_dbias.contiguous()
        self._c.second_factors(layer, own, of_dweight, of_dbias, factors, _count(z), z.shape[1])
        dg, dweight = torch.empty_like(g), torch.empty_like(of_dweight)
        product = self._run(self._c.pick_slopes, z, (g, places, h, z, layer, factors), (dg,), 1, _images(z))
        self._c.third_factors(layer, sums, own, product, factors, dweight, _count(z), z.shape[1])
        return dg, self._spread(g, places, h, z, layer, factors), dweight

    def _spread(
        self, g: Tensor, places: Tensor, h: Tensor | None, z: Tensor, layer: Tensor, factors: Tensor
    ) -> Tensor:
        """Of the shape of z: what g at the places, h and z − mean give by their factors."""
        out = torch.empty_like(z)
        self._run(self._c.spread_slopes, z, (g, places, h, z, layer, factors), (out,), 0, _images(z))
        return out

    @staticmethod
    def _run(
        function: Any,
        z: Tensor,
        given: tuple[Tensor | None, ...],
        written: tuple[Tensor, ...],
        sums: int,
        dealt: tuple[tuple[int, ...], int],
    ) -> Tensor:
        """Deal the work; the sums ``[sums, C]`` that the function ends with are those of all shares."""
        (sizes, count), channels = dealt, z.shape[1]

        def share(first: int, last: int) -> Tensor:
            out = z.new_empty(sums, channels)
            function(*given, *written, *([out] if sums else []), *sizes, channels, first, last)
            return out

        return summed(share, count, -(-_FEWEST * count // z.numel()))


_FEWEST = 2**18
"""Numbers for which a thread pays."""


def _count(z: Tensor) -> int:
    """Values a channel."""
    return z.numel() // z.shape[1]


def _rows(z: Tensor) -> tuple[tuple[int, ...], int]:
    return (), _count(z)


def _images(z: Tensor) -> tuple[tuple[int, ...], int]:
    return (z.shape[2], z.shape[3]), z.shape[0]


_kernels = available(_Kernels)
