"""Transforms of images: those of torchvision where it is installed, the same by these names where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metacortex.errors import DataError

__all__ = ["CenterCrop", "Compose", "NumpyToTorch", "Resize", "ToTensor", "own"]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    values = (size, size) if isinstance(size, int) else tuple(size)
    return values if len(values) == 2 else (values[0], values[0])


class _Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        """Apply them in order."""
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class _Resize:
    """Scale a Pillow image with antialiasing, bilinearly.

    Args:
        size: (height, width), or the length of the shorter side.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        """A new image."""
        width, height = image.size
        if isinstance(self.size, int) or len(self.size) == 1:
            short = _pair(self.size)[0]
            size = (short * width // min(width, height), short * height // min(width, height))
        else:
            size = (self.size[1], self.size[0])
        return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)

    def __repr__(self) -> str:
        return f"Resize({self.size})"


class _CenterCrop:
    """The middle of a Pillow image.

    Args:
        size: (height, width) or one number for both.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    def __call__(self, image: Image.Image) -> Image.Image:
        """A new image; what lies outside the old one is black."""
        height, width = self.size
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return image.crop((left, top, left + width, top + height))

    def __repr__(self) -> str:
        return f"CenterCrop({self.size})"


class _ToTensor:
    """A Pillow image or an array ``[H, W, C]`` as a tensor ``[C, H, W]``; 8-bit values become 0..1."""

    def __call__(self, image: Any) -> Tensor:
        """A new tensor.

        Raises:
            DataError: for an array that is no image.
        """
        values = np.array(image, copy=True)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * 255
        if values.ndim == 2:
            values = values[:, :, None]
        if values.ndim != 3:
            raise DataError(f"ToTensor needs an image [H, W] or [H, W, C], got shape {list(values.shape)}")
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))  # [H, W, C] -> [C, H, W]
        return tensor.to(torch.float32).div(255) if tensor.dtype == torch.uint8 else tensor

    def __repr__(self) -> str:
        return "ToTensor()"


class NumpyToTorch:
    """An array as a tensor, floating-point numbers in single precision."""

    def __call__(self, sample: Any) -> Tensor:
        """A new tensor."""
        tensor = torch.from_numpy(np.array(sample, copy=True))
        return tensor.float() if tensor.is_floating_point() else tensor

    def __repr__(self) -> str:
        return "NumpyToTorch()"


own: dict[str, type] = {"CenterCrop": _CenterCrop, "Compose": _Compose, "Resize": _Resize, "ToTensor": _ToTensor}
"""The replacements by name."""

for _name, _class in own.items():
    _class.__name__ = _class.__qualname__ = _name

CenterCrop: Any
Compose: Any
Resize: Any
ToTensor: Any
try:
    from torchvision import transforms as _theirs  # pyright: ignore
except (ImportError, RuntimeError, OSError, AttributeError):  # none, or one that was built for another torch
    CenterCrop, Compose, Resize, ToTensor = _CenterCrop, _Compose, _Resize, _ToTensor
else:
    CenterCrop, Compose, Resize, ToTensor = _theirs.CenterCrop, _theirs.Compose, _theirs.Resize, _theirs.ToTensor
