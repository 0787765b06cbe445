"""Images as the learner of a run knows them, from files of any size, mode and polarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from metacortex.data.images import read_image
from metacortex.errors import DataError, RunError

__all__ = ["Background", "ImageReader", "border_level"]

Background = Literal["dark", "light", "any"]
"""What the border of the images is like that a learner was trained on."""

_CLEAN = 8
"""A border darker than this is background as drawn; anything lighter is paper, lit by some lamp."""
_FAINT = 48
"""Contrast below which nothing is drawn on the paper, and there is nothing to bring out."""


@dataclass(frozen=True)
class ImageReader:
    """How a skill reads image files.

    A learner that was trained on bright strokes on a dark ground sees nothing it knows in a photo
    of ink on white paper. So an image is inverted when its border is light and those of the training
    images were dark, or the other way round; and where the learner knows grey images on a dark ground,
    the grey of photographed paper is taken to 0 and the darkest ink to 255. Images with a clean
    background are left exactly as they are.

    Attributes:
        shape: ``(C, H, W)`` of what the learner takes, C = 1 (grey) or 3 (RGB).
        background: border of the training images; ``"any"``: it varied, so nothing is inverted.
        invert: always (True), never (False) or as said above (None).
    """

    shape: tuple[int, int, int]
    background: Background = "any"
    invert: bool | None = None

    @staticmethod
    def of(shape: Sequence[int], background: Background, invert: bool | None = None) -> ImageReader:
        """A reader for a learner's input shape.

        Raises:
            RunError: if the learner does not take grey or RGB images.
        """
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise RunError(
                f"this run was trained on examples of shape {tuple(shape)}, not on grey or RGB images (1 or 3, "
                "height, width), so it cannot learn from image files"
            )
        channels, height, width = (int(n) for n in shape)
        return ImageReader((channels, height, width), background, invert)

    def __call__(self, file: str | Path | IO[bytes]) -> np.ndarray:
        """Read a file as ``[C, H, W]`` uint8.

        Raises:
            DataError: naming the file, if it is missing, empty, no image, cut short, or too large.
        """
        # The whole path: files of different classes often share their names.
        name = str(file) if isinstance(file, str | Path) else None
        return self.prepare(read_image(file, None, "L" if self.shape[0] == 1 else "RGB", name=name))

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Bring a decoded image to polarity, size and levels.

        Args:
            image: ``[C, h, w]`` uint8 of any height and width.

        Returns:
            ``[C, H, W]`` uint8.

        Raises:
            DataError: for another shape or type.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != self.shape[0] or 0 in image.shape:
            raise DataError(
                f"expected an image [{self.shape[0]}, height, width] of uint8, got {list(image.shape)} of {image.dtype}"
            )
        level = border_level(image)
        if self._inverts(level):
            image, level = 255 - image, 255.0 - level
        image = _resize(image, self.shape[1], self.shape[2])
        if self.background == "dark" and self.shape[0] == 1 and level > _CLEAN:
            image = _lift(image)
        return image

    def to_json(self) -> dict[str, Any]:
        """The reader as JSON holds it."""
        return {**asdict(self), "shape": list(self.shape)}

    @staticmethod
    def from_json(content: dict[str, Any]) -> ImageReader:
        """The inverse of `to_json`."""
        return ImageReader.of(content["shape"], content["background"], content["invert"])

    def _inverts(self, level: float) -> bool:
        if self.invert is not None:
            return self.invert
        return (self.background == "dark" and level > 127) or (self.background == "light" and level < 128)


def border_level(image: np.ndarray) -> float:
    """Median brightness, 0 to 255, of the outermost pixels of ``[C, H, W]``."""
    grey = image.mean(0) if image.shape[0] > 1 else image[0]
    return float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # As `read_image` does it, so that a file of a training source becomes bit for bit what was trained on.
    if image.shape[1:] == (height, width):
        return image
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    array = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return array[None] if image.shape[0] == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _lift(image: np.ndarray) -> np.ndarray:
    """Stretch ``[1, H, W]`` so that its border becomes 0 and its brightest pixel 255."""
    low, high = border_level(image), float(image.max())
    if high - low < _FAINT:
        return image
    return np.clip((image - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
