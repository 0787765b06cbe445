"""The twelve-layer residual network of the few-shot literature, with DropBlock."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.norm import BatchNorm

__all__ = ["DropBlock", "ResNet12", "ResNet12Settings"]


@dataclass(frozen=True)
class ResNet12Settings:
    """Settings of `ResNet12`.

    Attributes:
        widths: filters of each block. The default is the wide one of MetaOptNet (12.4 million weights);
            ``(64, 128, 256, 512)`` is the narrow one of TADAM and others (8.0 million).
        drop: share of activations dropped while training; 0 for none.
        drop_block: side of the squares that the last two blocks drop; the others drop single activations.
        average: average over the image at the end; without it the features are those of every place.
    """

    widths: tuple[int, ...] = (64, 160, 320, 640)
    drop: float = 0.1
    drop_block: int = 5
    average: bool = True

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise SettingsError(f"resnet12: widths must be at least 1, got {self.widths}")
        if not 0 <= self.drop < 1:
            raise SettingsError(f"resnet12: drop must be at least 0 and below 1, got {self.drop}")
        if self.drop_block < 1:
            raise SettingsError(f"resnet12: drop_block must be at least 1, got {self.drop_block}")


class DropBlock(nn.Module):
    """Dropout of whole squares of a feature map, while training.

    Corners of squares are drawn with probability γ so that in the mean a share ``rate`` is dropped, at most:

        γ = rate / b² · H W' / ((H − b + 1)(W' − b + 1))

    What is left is scaled up to the number of activations that there were, image by image (the original
    scales by the whole batch, so that an image's activations would depend on the others).

    Args:
        rate: share of activations to drop, in [0, 1).
        block: b, side of a square; smaller where the map is.

    Draws from torch's generator, as `torch.nn.Dropout` does.

    Reference: Ghiasi, Lin and Le, "DropBlock: A regularization method for convolutional networks",
    2018, algorithm 1 and equation 1.
    """

    def __init__(self, rate: float, block: int) -> None:
        super().__init__()
        self.rate, self.block = rate, block

    def extra_repr(self) -> str:
        """The settings, for ``repr``."""
        return f"rate={self.rate}, block={self.block}"

    def forward(self, x: Tensor) -> Tensor:
        """Drop from ``[N, C, H, W']``."""
        if not self.training or self.rate == 0:
            return x
        height, width = x.shape[-2:]
        b = min(self.block, height, width)
        inner = (height - b + 1, width - b + 1)
        gamma = self.rate / b**2 * height * width / (inner[0] * inner[1])
        corners = (torch.rand_like(x[:, :, : inner[0], : inner[1]]) < gamma).to(x.dtype)
        # A corner drops the b × b places to its right and below it.
        dropped = F.max_pool2d(F.pad(corners, (b - 1, b - 1, b - 1, b - 1)), b, stride=1)
        kept = 1 - dropped
        share = kept.mean((1, 2, 3), keepdim=True)
        return x * kept / share.clamp_min(torch.finfo(x.dtype).tiny)


class _Block(nn.Module):
    """Three 3×3 convolutions with batch norm beside a 1×1 one, then halving."""

    def __init__(self, inputs: int, width: int, drop: nn.Module) -> None:
        super().__init__()
        channels = [inputs, width, width, width]
        self.convolutions = nn.ModuleList(_convolution(a, width, 3) for a in channels[:3])
        self.norms = nn.ModuleList(BatchNorm(width) for _ in range(3))
        self.shortcut, self.shortcut_norm = _convolution(inputs, width, 1), BatchNorm(width)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            y = norm(convolution(y))
            y = F.leaky_relu(y, 0.1) if place < 2 else y
        y = y + self.shortcut_norm(self.shortcut(x))
        # Maximum and leaky ReLU commute: pooling first leaves a quarter of the work.
        return self.drop(F.leaky_relu(F.max_pool2d(y, 2), 0.1))


class ResNet12(nn.Module):
    """Four residual blocks of three convolutions; inputs ``[N, C, H, W']``, output ``[N, features]``.

    Deviates from the published one in that the dropped share does not grow over the first 40,000
    batches: a network that counts its calls would not be pure.

    Args:
        input_shape: ``(C, H, W')`` of one image.
        settings: see `ResNet12Settings`.

    Raises:
        SettingsError: if the image is too small for the number of blocks.

    Example:
        >>> ResNet12((3, 84, 84), ResNet12Settings(widths=(8, 8, 8, 16))).features
        16

    Reference: Lee, Maji, Ravichandran and Soatto, "Meta-Learning with Differentiable Convex
    Optimization", 2019, §4.1; narrow: Oreshkin, Rodríguez López and Lacoste, "TADAM", 2018.
    """

    def __init__(self, input_shape: tuple[int, int, int], settings: ResNet12Settings | None = None) -> None:
        super().__init__()
        s = self.settings = settings or ResNet12Settings()
        channels, height, width = input_shape
        if min(height, width) >> len(s.widths) < 1:
            raise SettingsError(
                f"resnet12: an image of {height}×{width} vanishes after {len(s.widths)} blocks; "
                "use fewer blocks (widths) or larger images"
            )
        blocks = []
        for place, filters in enumerate(s.widths):
            last_two = place >= len(s.widths) - 2
            blocks.append(_Block(channels, filters, DropBlock(s.drop, s.drop_block if last_two else 1)))
            channels, height, width = filters, height // 2, width // 2
        self.blocks = nn.Sequential(*blocks)
        self.features = channels * (1 if s.average else height * width)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, C, H, W']`` to ``[N, features]``."""
        x = self.blocks(images)
        return x.mean((2, 3)) if self.settings.average else x.flatten(1)


def _convolution(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, a=0.1, mode="fan_out", nonlinearity="leaky_relu")
    # Channels-last weights make every activation channels-last: twice as fast on CPUs.
    convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
    return convolution
