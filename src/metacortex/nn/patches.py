"""Convolutions as matrix products of patches, for weights that differ from task to task on a GPU.

Under ``vmap`` a convolution with weights of its own for each task becomes one of groups, which GPUs have few kernels
for. As a product of patches with a matrix it is one batched product, the kind of work that they are made for:

    y = G(x) · w,   G: images ``[N, H, W', C]`` → patches ``[N, h, w, kh, kw, C]``

G only copies, and zero for what lies outside. Its adjoint Gᵀ adds up what the patches say of a pixel. Both are the
same for all tasks, so that a batch of tasks is just a batch of more images; each is the derivative of the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.nn.mode import mapping, on_gpu

__all__ = [
    "Cut",
    "by_patches",
    "gather",
    "patch_convolution",
    "patches_of",
    "plain_convolution",
    "project",
    "scatter",
    "weight_rows",
]


class Cut(NamedTuple):
    """How patches lie on images.

    Attributes:
        image: height and width of an image.
        kernel: those of a patch.
        stride: rows and columns from one patch to the next.
        padding: of zeros around the image.
    """

    image: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @property
    def places(self) -> tuple[int, int]:
        """Patches in a column and in a row of an image."""
        sizes = zip(self.image, self.kernel, self.stride, self.padding, strict=True)
        h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        return h, w


def plain_convolution(convolution: nn.Conv2d) -> bool:
    """Whether all patches are multiplied with the same weights, and what lies outside is zero."""
    return (
        convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def by_patches(x: Tensor, convolution: nn.Conv2d) -> bool:
    """Whether `patch_convolution` is likely to be quicker: on a GPU, with weights that may be the task's own.

    Not at stride 1, where 3×3 patches are nine times the images: writing and reading them costs more than it saves.
    """
    strided = min(convolution.stride) > 1
    return strided and on_gpu(x) and mapping() and plain_convolution(convolution) and x.shape[0] > 0


def patch_convolution(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """What a `plain_convolution` gives.

    Args:
        x: ``[N, C, H, W']``; channels-last is quickest.
        convolution: its weights are those of the moment.

    Returns:
        ``[N, filters, h, w]``, channels-last.

    *Differentiability*: to any order, also under ``vmap``.
    """
    return project(patches_of(x, convolution), weight_rows(convolution), convolution.bias)


def patches_of(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The patches ``[N, h, w, kh*kw*C]`` of images ``[N, C, H, W']`` that a `plain_convolution` multiplies."""
    (kh, kw), (sh, sw), (ph, pw) = convolution.kernel_size, convolution.stride, convolution.padding
    cut = Cut((x.shape[2], x.shape[3]), (kh, kw), (sh, sw), (int(ph), int(pw)))
    return gather(x.permute(0, 2, 3, 1), cut).flatten(3)


def weight_rows(convolution: nn.Conv2d) -> Tensor:
    """Weights in the order of a patch, ``[filters, kh*kw*C]``."""
    return convolution.weight.permute(0, 2, 3, 1).flatten(1)


def project(patches: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Patches ``[N, h, w, D]`` times weights ``[filters, D]``: ``[N, filters, h, w]``, channels-last."""
    # Under autocast the product is rounded. Convolutions directly under vmap are not, nor do they take what is.
    rows = F.linear(patches.flatten(0, 2), weights, bias).to(patches.dtype)  # [N*h*w, filters]
    return rows.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)


def gather(images: Tensor, cut: Cut) -> Tensor:
    """G: from images ``[N, H, W', C]`` to patches ``[N, h, w, kh, kw, C]``."""
    return _Linear.apply(images, cut, False)  # type: ignore[return-value]


def scatter(patches: Tensor, cut: Cut) -> Tensor:
    """Gᵀ: from patches ``[N, h, w, kh, kw, C]`` to images ``[N, H, W', C]``."""
    return _Linear.apply(patches, cut, True)  # type: ignore[return-value]


class _Linear(torch.autograd.Function):
    """G, or Gᵀ where it is ``transposed``: nothing is remembered, and an axis of tasks joins that of images."""

    @staticmethod
    def forward(x: Tensor, cut: Cut, transposed: bool) -> Tensor:  # type: ignore[override]
        return _added(x, cut) if transposed else _cut(x, cut)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Cut, bool], output: Tensor) -> None:
        _, ctx.cut, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _Linear.apply(slopes[0], ctx.cut, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _Linear.apply(tangents[0], ctx.cut, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        tasks = args[0].movedim(in_dims[0], 0)  # [T, N, ...]
        y: Tensor = _Linear.apply(tasks.flatten(0, 1), *args[1:])  # type: ignore[assignment]
        return y.unflatten(0, tasks.shape[:2]), 0


def _cut(x: Tensor, cut: Cut) -> Tensor:
    (h, w), (kh, kw), (sh, sw), (ph, pw) = cut.places, cut.kernel, cut.stride, cut.padding
    height, width = sh * (h - 1) + kh, sw * (w - 1) + kw  # what the patches reach
    if (ph, pw) != (0, 0):
        padded = x.new_zeros(x.shape[0], height, width, x.shape[3])
        inside = x[:, : height - ph, : width - pw]
        padded[:, ph : ph + inside.shape[1], pw : pw + inside.shape[2]].copy_(inside)
        x = padded
    windows = x.unfold(1, kh, sh).unfold(2, kw, sw)  # [N, h, w, C, kh, kw]
    return windows.permute(0, 1, 2, 4, 5, 3).contiguous()


def _added(x: Tensor, cut: Cut) -> Tensor:
    """Patches fall into blocks as large as the stride; those at one place of a patch never meet."""
    (h, w), (kh, kw), (sh, sw), (ph, pw) = cut.places, cut.kernel, cut.stride, cut.padding
    height = max(-(-(ph + cut.image[0]) // sh), h - 1 + -(-kh // sh))
    width = max(-(-(pw + cut.image[1]) // sw), w - 1 + -(-kw // sw))
    total = x.new_zeros(x.shape[0], height, sh, width, sw, x.shape[-1])
    for a, i in enumerate(range(0, kh, sh)):
        for b, j in enumerate(range(0, kw, sw)):
            block = x[:, :, :, i : i + sh, j : j + sw].permute(0, 1, 3, 2, 4, 5)  # [N, h, <=sh, w, <=sw, C]
            place = total[:, a : a + h, : block.shape[2], b : b + w, : block.shape[4]]
            place.copy_(block) if (i, j) == (0, 0) else place.add_(block)
    whole = total.flatten(3, 4).flatten(1, 2)
    return whole[:, ph : ph + cut.image[0], pw : pw + cut.image[1]]
