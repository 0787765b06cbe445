"""Convolution, batch norm, pooling and ReLU: the first block of a network without its largest tensors.

Convolutions of few channels have little to compute on large images: there the passes of batch norm and pooling,
bound by memory, take longer than the convolution. But such a convolution is linear in few numbers, the D = C·k² values
of a patch p, so the statistics of its outputs follow from those of the patches:

    z = w·p,   E[z] = w·E[p],   Var[z] = w Cov[p] wᵀ

Batch norm then is part of the weights, w' = w·γ/√(Var[z] + eps), no pass over the outputs. Nothing couples the
images any more, so a few at a time are convolved and pooled while they are in the cache of a CPU. On a GPU, where under
``vmap`` all tasks are computed at once, it is one product of patches with weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.nn.mode import eager_on_cpu, mapping, on_gpu
from metacortex.nn.norm import BatchNorm
from metacortex.nn.patches import by_patches, patch_convolution, patches_of, plain_convolution, project, weight_rows
from metacortex.nn.pooled import centred, pooled, pooled_projection

__all__ = ["convolution_block"]

_PATCH = 32
"""Largest D: 3×3 patches are 9 numbers of grey images and 27 of colour ones. Cutting them takes time and memory in
proportion to it, so that with less than half as many filters the passes over the outputs are cheaper."""

_ALIGNED = 4
"""Numbers that a GPU's matrix units read at once: rows of a multiple of them."""


def convolution_block(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, *, pool: bool) -> Tensor:
    """ReLU(pool(norm(convolution(x)))).

    Args:
        x: ``[N, C, H, W']``.
        convolution: any.
        norm: any; a batch norm takes part in the saving above.
        pool: 2×2 max pooling with stride 2, or none.

    Returns:
        ``[N, filters, H'', W'']``.

    *Differentiability*: to any order that the norm allows.
    """
    if isinstance(norm, BatchNorm) and _folds(x, convolution, norm):
        with _exactly():
            return _folded(x, convolution, norm, pool)
    if isinstance(norm, BatchNorm) and _folds_mapped(x, convolution, norm):
        x = _folded_mapped(x, convolution, norm)
    elif by_patches(x, convolution) and not _watched(convolution):
        x = patch_convolution(x, convolution)
        # Stock norms ask for the order of the memory, which cannot be asked for under vmap unless it is the usual.
        x = norm(x if isinstance(norm, BatchNorm) else x.contiguous())
    else:
        x = convolution(x)
        if pool and type(norm) is BatchNorm and not _watched(norm):
            return norm.pooled(x)
        x = norm(x)
    return pooled(x) if pool else F.relu(x)


def _exactly() -> torch.autocast:
    """What is computed here stays in the precision that came, also where convolutions are rounded."""
    return torch.autocast("cpu", enabled=False)


def _folds(x: Tensor, convolution: nn.Conv2d, norm: BatchNorm) -> bool:
    return eager_on_cpu(x) and not x.requires_grad and _foldable(x, convolution, norm)


def _folds_mapped(x: Tensor, convolution: nn.Conv2d, norm: BatchNorm) -> bool:
    """On a GPU under vmap, where batch norm would be written out in many passes."""
    return on_gpu(x) and mapping() and _foldable(x, convolution, norm)


def _foldable(x: Tensor, convolution: nn.Conv2d, norm: BatchNorm) -> bool:
    return (
        plain_convolution(convolution)
        and convolution.bias is None
        and convolution.weight[0].numel() <= min(_PATCH, 2 * convolution.out_channels)
        and x.dtype == convolution.weight.dtype
        and x.shape[0] > 0
        and not norm.masked
        and not _watched(norm, convolution)
    )


def _watched(*layers: nn.Module) -> bool:
    """Whether somebody wants to see what goes in and comes out."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(layer, name) for layer in layers for name in hooks)


def _folded(x: Tensor, convolution: nn.Conv2d, norm: BatchNorm, pool: bool) -> Tensor:
    columns = _columns(x, convolution)  # [D, N, H', W'']
    centre, covariance = centred(columns)
    flat = columns.flatten(1)
    weights, shift = norm.folded(convolution.weight.flatten(1), centre, covariance, flat.shape[1])
    if pool:
        return pooled_projection(weights, shift, columns)
    y = torch.addmm(shift, flat.t(), weights.t())  # [N*H'*W'', F]
    return F.relu(y.view(*columns.shape[1:], -1).permute(0, 3, 1, 2))


def _folded_mapped(x: Tensor, convolution: nn.Conv2d, norm: BatchNorm) -> Tensor:
    """norm(convolution(x)) of operations that can be mapped and differentiated to any order, channels-last."""
    patches = patches_of(x, convolution)  # [N, h, w, D]
    centre = patches.mean((0, 1, 2))
    patches = patches - centre
    # Matrix units would round what the statistics are made from; in double precision they do not.
    wide = patches.double().flatten(0, 2)  # [N*h*w, D]
    weights, shift = norm.folded(weight_rows(convolution), centre.double(), wide.t() @ wide / len(wide), len(wide))
    # With a column of ones the shift, and its gradient, are part of the product.
    extra = -patches.shape[3] % _ALIGNED or _ALIGNED
    weights = F.pad(torch.cat([weights, shift[:, None]], 1), (0, extra - 1))
    return project(F.pad(patches, (0, extra), value=1.0), weights)


def _columns(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """``[D, N, H', W'']``: for each place in a patch, the values under it."""
    (kh, kw), (sh, sw) = convolution.kernel_size, convolution.stride
    ph, pw = (int(p) for p in convolution.padding)
    windows = F.pad(x.detach(), (pw, pw, ph, ph)).unfold(2, kh, sh).unfold(3, kw, sw)  # [N, C, H', W'', kh, kw]
    return windows.permute(1, 4, 5, 0, 2, 3).contiguous().flatten(0, 2)
