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

import torch
from torch import Tensor

__all__ = ["normed_pool"]


def normed_pool(z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """ReLU(max_pool2d(batch_norm(z), 2)).

    Args:
        z: ``[N, C, H, W]``, of which `metacortex.nn.pooled.pools_in_c` is true.
        weight: γ ``[C]``.
        bias: β ``[C]``.
        eps: added to the variance.

    Returns:
        y ``[N, C, H//2, W//2]``, mean ``[C]`` and variance ``[C]``, the latter divided by the number of values.

    *Differentiability*: y to any order (beyond the second slowly), mean and variance not at all.
    """
    return torch.ops.metacortex.normed_pool(z, weight, bias, eps)
