"""The four-block convolutional network of the few-shot literature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.block import convolution_block
from metacortex.nn.norm import BatchNorm

__all__ = ["Conv4", "Conv4Settings"]


@dataclass(frozen=True)
class Conv4Settings:
    """Settings of `Conv4`.

    Attributes:
        channels: filters of each block.
        blocks: number of blocks.
        reduction: ``"pool"`` halves with 2×2 max pooling (prototypical networks), ``"stride"`` with
            strided convolutions (MAML on Omniglot), about four times cheaper.
        norm: ``"batch"``, ``"group"`` or ``"none"``.
        widths: filters block by block, e.g. ``(96, 192, 384, 512)``, instead of ``channels`` and ``blocks``.
    """

    channels: int = 64
    blocks: int = 4
    reduction: Literal["pool", "stride"] = "pool"
    norm: Literal["batch", "group", "none"] = "batch"
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.channels < 1 or self.blocks < 1:
            raise SettingsError(f"conv4: channels and blocks must be at least 1, got {self.channels}, {self.blocks}")
        if self.widths and min(self.widths) < 1:
            raise SettingsError(f"conv4: widths must be at least 1, got {self.widths}")

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of each block."""
        return tuple(self.widths) or (self.channels,) * self.blocks


class Conv4(nn.Module):
    """Blocks of 3×3 convolution, normalisation, ReLU and halving; flattened features out.

    Inputs ``[N, C, H, W']`` floats, output ``[N, features]``. For 28×28 and 64 channels the features
    are 64 with pooling and 256 with strides.

    Args:
        input_shape: ``(C, H, W')`` of one image.
        settings: see `Conv4Settings`.

    Raises:
        SettingsError: if the image is too small for the number of blocks.

    Example:
        >>> Conv4((1, 28, 28)).features
        64

    Reference: Vinyals et al., "Matching Networks for One Shot Learning", 2016, §4.1;
    strided variant: Finn et al., "Model-Agnostic Meta-Learning", 2017, appendix A; widths 96-192-384-512:
    Bertinetto et al., "Meta-learning with differentiable closed-form solvers", 2019, §4.1.
    """

    def __init__(self, input_shape: tuple[int, int, int], settings: Conv4Settings | None = None) -> None:
        super().__init__()
        s = self.settings = settings or Conv4Settings()
        channels, height, width = input_shape
        halve = (lambda n: n // 2) if s.reduction == "pool" else (lambda n: math.ceil(n / 2))
        convolutions, norms = [], []
        for filters in s.filters:
            stride = 1 if s.reduction == "pool" else 2
            # Batch norm subtracts the mean, so a bias before it would have no effect.
            conv = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=s.norm == "none")
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            # Channels-last weights make every activation channels-last: twice as fast on CPUs.
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
            convolutions.append(conv)
            norms.append(_norm(s.norm, filters))
            channels, height, width = filters, halve(height), halve(width)
        if height < 1 or width < 1:
            raise SettingsError(
                f"conv4: an image of {input_shape[1]}×{input_shape[2]} vanishes after {len(s.filters)} blocks; "
                "use fewer blocks or larger images"
            )
        self.convolutions, self.norms = nn.ModuleList(convolutions), nn.ModuleList(norms)
        self.features = channels * height * width

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, C, H, W']`` to ``[N, features]``."""
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution_block(x, convolution, norm, pool=self.settings.reduction == "pool")  # type: ignore[arg-type]
        return x.flatten(1)


def _norm(kind: str, filters: int) -> nn.Module:
    if kind == "batch":
        return BatchNorm(filters)
    return nn.GroupNorm(math.gcd(8, filters), filters) if kind == "group" else nn.Identity()
