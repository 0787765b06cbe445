"""Transforms of images that make new classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from metacortex.errors import SettingsError

__all__ = ["HorizontalFlip", "Rotation", "VerticalFlip"]


class Rotation:
    """Rotation by an angle, counter-clockwise; iterating over it gives a rotation for each angle.

    Two rotations are equal, and have one hash, when their angles agree modulo 360.

    Args:
        angle: degrees, or a list of them (to be iterated over).
        resample: filter of Pillow; nearest for False.
        expand: grow the image to hold the whole rotated one.
        center: of rotation; the centre of the image when not given.

    Example:
        >>> [r.angle for r in Rotation([90, 180])], Rotation(90) == Rotation(450)
        ([90, 180], True)
    """

    def __init__(
        self,
        angle: float | Sequence[float],
        resample: Any = False,
        expand: bool = False,
        center: tuple[float, float] | None = None,
    ) -> None:
        many = isinstance(angle, (list, tuple))
        self._angles = list(angle) if many else None  # type: ignore[arg-type]
        self.angle: float | None = None if many else float(angle) if isinstance(angle, float) else angle  # type: ignore[assignment]
        self.resample, self.expand, self.center = resample, expand, center
        if self.angle is not None and self.angle % 360 == 0:
            warnings.warn(
                f"a rotation by {self.angle} degrees leaves images as they are, but makes new classes of them",
                stacklevel=2,
            )

    @property
    def quarters(self) -> int | None:
        """Quarter turns, ``None`` where it is not a whole number of them."""
        if self.angle is None or self.angle % 90:
            return None
        return int(self.angle % 360) // 90

    def __iter__(self) -> Iterator[Rotation]:
        for angle in [self.angle] if self._angles is None else self._angles:
            yield Rotation(angle, self.resample, self.expand, self.center)  # type: ignore[arg-type]

    def __call__(self, image: Any) -> Any:
        """Rotate a Pillow image, or, by quarter turns, a tensor ``[..., H, W]``.

        Raises:
            SettingsError: for a list of angles, or a tensor and another angle.
        """
        if self.angle is None:
            raise SettingsError(f"{self} has several angles: iterate over it, it gives one rotation for each")
        if isinstance(image, Tensor):
            if self.quarters is None:
                raise SettingsError(f"tensors are rotated by quarter turns only, got {self.angle} degrees")
            return torch.rot90(image, self.quarters, dims=(-2, -1))
        resample = self.resample if self.resample else Image.Resampling.NEAREST
        return image.rotate(self.angle % 360, resample, self.expand, self.center)

    def __hash__(self) -> int:
        return hash(("rotation", None if self.angle is None else self.angle % 360))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rotation):
            return NotImplemented
        if self.angle is None or other.angle is None:
            return self._angles == other._angles and self.angle == other.angle
        return self.angle % 360 == other.angle % 360

    def __repr__(self) -> str:
        return f"Rotation({self.angle if self._angles is None else self._angles})"


class _Flip:
    axis: int
    method: Image.Transpose

    def __iter__(self) -> Iterator[Any]:
        return iter([type(self)()])

    def __call__(self, image: Any) -> Any:
        """Flip a Pillow image or a tensor ``[..., H, W]``."""
        return image.flip(self.axis) if isinstance(image, Tensor) else image.transpose(self.method)

    def __hash__(self) -> int:
        return hash(type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class HorizontalFlip(_Flip):
    """Left and right exchanged; iterating over it gives one of them."""

    axis, method = -1, Image.Transpose.FLIP_LEFT_RIGHT


class VerticalFlip(_Flip):
    """Top and bottom exchanged; iterating over it gives one of them."""

    axis, method = -2, Image.Transpose.FLIP_TOP_BOTTOM
