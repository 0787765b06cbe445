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
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from metacortex.nn.mode import mapping, on_gpu

__all__ = [
    "Cut",
    "by_patches",
    "cut_of",
    "gather",
    "patch_convolution",
    "plain_convolution",
    "scatter",
    "weight_rows",
]

BY_PATCHES = True
"""Switch of `by_patches`."""

BAGS = True
"""Cut and add up by lists of rows (one kernel each) where there are enough channels, else by strided slices."""

_LANES = 32
"""Channels from which on lists of rows are worth while: threads of a GPU that read one row together."""


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
    """Whether `patch_convolution` is likely to be quicker: on a GPU, with weights that may be the task's own."""
    return BY_PATCHES and on_gpu(x) and mapping() and plain_convolution(convolution) and x.shape[0] > 0


def patch_convolution(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """What a `plain_convolution` gives.

    Args:
        x: ``[N, C, H, W']``; channels-last is quickest.
        convolution: its weights are those of the moment.

    Returns:
        ``[N, filters, h, w]``, channels-last.

    *Differentiability*: to any order, also under ``vmap``.
    """
    patches = gather(x.permute(0, 2, 3, 1), cut_of(x, convolution))
    rows = patches.flatten(3).flatten(0, 2)  # [N*h*w, kh*kw*C]
    weights = weight_rows(convolution).t()
    y = rows @ weights if convolution.bias is None else torch.addmm(convolution.bias, rows, weights)
    return y.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)


def cut_of(x: Tensor, convolution: nn.Conv2d) -> Cut:
    """How the patches of a convolution lie on images ``[N, C, H, W']``."""
    (kh, kw), (sh, sw), (ph, pw) = convolution.kernel_size, convolution.stride, convolution.padding
    return Cut((x.shape[2], x.shape[3]), (kh, kw), (sh, sw), (int(ph), int(pw)))


def weight_rows(convolution: nn.Conv2d) -> Tensor:
    """Weights in the order of a patch, ``[filters, kh*kw*C]``."""
    return convolution.weight.permute(0, 2, 3, 1).flatten(1)


def gather(images: Tensor, cut: Cut) -> Tensor:
    """G: from images ``[N, H, W', C]`` to patches ``[N, h, w, kh, kw, C]``."""
    return _Gather.apply(images, cut)  # type: ignore[return-value]


def scatter(patches: Tensor, cut: Cut) -> Tensor:
    """Gᵀ: from patches ``[N, h, w, kh, kw, C]`` to images ``[N, H, W', C]``."""
    return _Scatter.apply(patches, cut)  # type: ignore[return-value]


class _Linear(torch.autograd.Function):
    """What G and Gᵀ have in common: nothing is remembered, and an axis of tasks joins that of images."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Cut], output: Tensor) -> None:
        ctx.cut = inputs[1]


class _Gather(_Linear):
    @staticmethod
    def forward(x: Tensor, cut: Cut) -> Tensor:  # type: ignore[override]
        return _listed(x, cut) if _lists(x) else _cut(x, cut)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return scatter(slopes[0], ctx.cut), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return gather(tangents[0], ctx.cut)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        tasks, cut = args[0].movedim(in_dims[0], 0), args[1]
        return gather(tasks.flatten(0, 1), cut).unflatten(0, tasks.shape[:2]), 0


class _Scatter(_Linear):
    @staticmethod
    def forward(x: Tensor, cut: Cut) -> Tensor:  # type: ignore[override]
        return _listed_sums(x, cut) if _lists(x) else _added(x, cut)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return gather(slopes[0], ctx.cut), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return scatter(tangents[0], ctx.cut)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        tasks, cut = args[0].movedim(in_dims[0], 0), args[1]
        return scatter(tasks.flatten(0, 1), cut).unflatten(0, tasks.shape[:2]), 0


# --- by slices ---


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


# --- by lists of rows ---

_KEPT: dict[Any, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
"""Never emptied: a CUDA graph reads its lists where they were when it was recorded."""


def _lists(x: Tensor) -> bool:
    """Whether there are enough channels; not where tensors stand for others, which lists that are kept cannot join."""
    return BAGS and x.shape[-1] >= _LANES and not x.is_meta and not isinstance(x, FakeTensor)


def _listed(x: Tensor, cut: Cut) -> Tensor:
    places, starts, _, _ = _rows(x.shape[0], cut, x.device)
    rows = _sums(x.reshape(-1, x.shape[-1]), places, starts)
    return rows.view(x.shape[0], *cut.places, *cut.kernel, x.shape[-1])


def _listed_sums(x: Tensor, cut: Cut) -> Tensor:
    _, _, places, starts = _rows(x.shape[0], cut, x.device)
    rows = _sums(x.reshape(-1, x.shape[-1]), places, starts)
    return rows.view(x.shape[0], *cut.image, x.shape[-1])


def _sums(rows: Tensor, places: Tensor, starts: Tensor) -> Tensor:
    """Sums of rows: those listed at ``places[starts[i]:starts[i + 1]]``, none for the zero row."""
    return torch.ops.aten._embedding_bag_forward_only(rows, places, starts)[0]


def _rows(count: int, cut: Cut, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each row of patches the pixel it is, and for each pixel the rows of patches that it is."""
    key = (count, cut, device)
    if key not in _KEPT:
        _KEPT[key] = tuple(x.to(device) for x in _lists_of(count, cut))  # type: ignore[assignment]
    return _KEPT[key]


def _lists_of(count: int, cut: Cut) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (height, width), (h, w), (kh, kw) = cut.image, cut.places, cut.kernel
    rows = torch.arange(h)[:, None] * cut.stride[0] + torch.arange(kh) - cut.padding[0]  # [h, kh]
    columns = torch.arange(w)[:, None] * cut.stride[1] + torch.arange(kw) - cut.padding[1]  # [w, kw]
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)  # [h, w, kh, kw]
    images = torch.arange(count)[:, None]
    pixels = images * (height * width) + (rows * width + columns).flatten()  # [N, h*w*kh*kw]
    real = inside.flatten().expand(count, -1).flatten()
    pixel = pixels.flatten()[real]
    of_patch = real.cumsum(0) - real.long()
    order = torch.argsort(pixel, stable=True)
    each = torch.bincount(pixel, minlength=count * height * width)
    lists = pixel, of_patch, real.nonzero()[:, 0][order], each.cumsum(0) - each
    return tuple(x.int() for x in lists)  # type: ignore[return-value]
