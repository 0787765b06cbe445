"""Batch norm with its own statistics in few passes over the data, differentiable to any order, also under ``vmap``.

On a GPU batch norm is bound by memory, and written out in elementary operations each is a pass over the data, with one
or two more for its derivative, and again for the second order. By hand a derivative is two sums and a weighted sum:

    n = (x − E) r,  y = n·γ + β,  with r = 1/√(Var + eps)
    dx = a (g − mean(g) − n mean(g·n)),  dγ = Σ g·n,  dβ = Σ g,  with a = γ·r and g the slopes of y

This is linear in g and of low degree in n, so that it is easily differentiated again.

Reference: Ioffe and Szegedy, "Batch Normalization", 2015, §3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["standardise"]


def standardise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm over every axis but the second.

    Args:
        x: ``[N, C, ...]``, N positive.
        weight: γ ``[C]``.
        bias: β ``[C]``.
        eps: added to the variance.

    Returns:
        y ``[N, C, ...]``, mean ``[C]`` and variance ``[C]``, the latter divided by the number of values.

    *Differentiability*: all three to any order.
    """
    shape = (1, -1, *[1] * (x.dim() - 2))
    y, _, _, mean, var = _Norm.apply(x, weight.reshape(shape), bias.reshape(shape), eps)  # type: ignore[misc]
    return y, mean.flatten(), var.flatten()


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _sum(x: Tensor) -> Tensor:
    return x.sum(_axes(x), keepdim=True)


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


class _Norm(torch.autograd.Function):
    """To y, n, r, mean and variance; what is one number a channel is ``[1, C, 1, ...]`` here.

    n and r are outputs because they are kept for the derivative, which is differentiated through what is kept.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:  # type: ignore[override]
        var, mean = torch.var_mean(x, _axes(x), correction=0, keepdim=True)
        r = torch.rsqrt(var + eps)
        n = (x - mean) * r
        return torch.addcmul(bias, n, weight), n, r, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(output[1], output[2], inputs[1])
        ctx.set_materialize_grads(False)  # the passes of outputs that nobody used are saved

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> Any:
        n, r, weight = ctx.saved_tensors
        of_y, of_n, of_r, of_mean, of_var = slopes
        share, along, dx, dweight, dbias = n.shape[1] / n.numel(), None, None, None, None
        if of_y is not None:
            dx, dweight, dbias = _Slopes.apply(of_y, n, weight * r)  # type: ignore[misc]
        if of_n is not None:
            dx = _plus(dx, _Slopes.apply(of_n, n, r)[0])  # type: ignore[index]
        if of_r is not None:
            along = of_r * r * r * -share  # dr/dx = −r² n / R of R values
        if of_var is not None:
            along = _plus(along, of_var / r * (2 * share))  # dVar/dx = 2 n / (r R)
        if along is not None:
            dx = _plus(dx, n * along)
        if of_mean is not None:
            dx = _plus(dx, (of_mean * share).expand_as(n))
        return dx, dweight, dbias, None


class _Slopes(torch.autograd.Function):
    """From g, n and a to dx, dγ and dβ, see above."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, n: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        dweight, dbias, k = _sum(g * n), _sum(g), a * (-g.shape[1] / g.numel())
        return torch.addcmul(torch.addcmul(k * dbias, g, a), n, k * dweight), dweight, dbias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (g, n, a, dweight, dbias), (h, of_dweight, of_dbias) = ctx.saved_tensors, slopes
        share = g.shape[1] / g.numel()
        hn, h1, k = _sum(h * n), _sum(h), a * -share
        by_n, by_one = k * hn + of_dweight, k * h1 + of_dbias
        dg = torch.addcmul(torch.addcmul(by_one, h, a), n, by_n)
        dn = torch.addcmul(h * (k * dweight), g, by_n)
        return dg, dn, _sum(h * g) - (hn * dweight + h1 * dbias) * share
