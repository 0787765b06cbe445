"""Transforms of targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

__all__ = ["DefaultTargetTransform", "SegmentationPairTransform", "TargetTransform"]


class TargetTransform:
    """Base of transforms of targets: ``__call__(target)``."""

    def __call__(self, target: Any) -> Any:
        """What becomes of a target."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def __repr__(self) -> str:
        return type(self).__name__


class DefaultTargetTransform(TargetTransform):
    """A label as (label, number of the augmentation), 0 for none.

    Args:
        class_augmentations: the augmentations of the classes, in order.
    """

    def __init__(self, class_augmentations: list[Any]) -> None:
        super().__init__()
        self.class_augmentations = class_augmentations
        self._numbers = {augmentation: i + 1 for i, augmentation in enumerate(class_augmentations)}

    def __call__(self, target: Any) -> tuple[Any, int]:
        """The pair."""
        if self.class_augmentations and isinstance(target, tuple) and len(target) == 2:
            label, augmentation = target
            return label, 0 if augmentation is None else self._numbers[augmentation]
        return target, 0


class SegmentationPairTransform:
    """An image and the mask of one class in it, scaled to a size.

    Args:
        target_size: height and width.
    """

    def __init__(self, target_size: int | tuple[int, int]) -> None:
        self.target_size = (target_size, target_size) if isinstance(target_size, int) else tuple(target_size)

    def __call__(self, image: Image.Image, mask: Image.Image, class_id: int) -> tuple[Any, Any]:
        """Tensors ``[3, H, W]`` in 0..1 (bilinear) and ``[1, H, W]`` of 0 and 1 (nearest)."""
        import torch

        size = (self.target_size[1], self.target_size[0])
        picture = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        inside = np.asarray(mask.resize(size, Image.Resampling.NEAREST)) == class_id
        return torch.from_numpy(picture.astype(np.float32) / np.float32(255)), torch.from_numpy(
            inside[None].astype(np.float32)
        )
