"""Images of any size and range as arrays of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from metacortex.data.images import read_image, to_uint8
from metacortex.data.ink import frame, stretch
from metacortex.errors import DataError
from metacortex.estimators.inputs import as_items
from metacortex.skills.images import ImageReader, border_level

__all__ = ["PictureReader", "learn_reader"]

_FLAT = 0.25
"""A pixel is ground if it differs by less from the border's median, as a share of the contrast."""
_DRAWN_SHARE = 0.4
"""Share of ground from which images are taken for drawings."""
_DIM = 127.0
"""Arrays of numbers within 0..255 whose largest is below this have another range."""
_THUMBNAIL = 6


@dataclass(frozen=True)
class PictureReader:
    """How an estimator reads images.

    Attributes:
        shape: ``(C, H, W)`` of what the network takes.
        value_range: what becomes 0 and 255 in arrays of numbers; ``None``: as they are.
        drawn: drawings, which are cut to their ink; ``None``: the network was not trained on such.
        reader: for networks that were not trained on framed drawings.
        invert: see `ImageReader`.
    """

    shape: tuple[int, int, int]
    value_range: tuple[float, float] | None = None
    drawn: bool | None = None
    reader: ImageReader | None = None
    invert: bool | None = None

    def __call__(self, X: Any) -> np.ndarray:
        """Images ``[N, C, H, W]`` uint8; with colours as well, where they count: ``[N, C + 3, H, W]``.

        Raises:
            DataError: naming the image that cannot be read.
        """
        images = [self._one(image) for image in _decoded(X, self.value_range)]
        if not images:
            raise DataError("X holds no images: give at least one")
        return np.stack(images)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "shape": list(self.shape),
            "value_range": None if self.value_range is None else list(self.value_range),
            "drawn": self.drawn,
            "reader": None if self.reader is None else self.reader.to_json(),
            "invert": self.invert,
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> PictureReader:
        """The inverse of `to_json`."""
        limits, reader = content["value_range"], content["reader"]
        channels, height, width = content["shape"]
        return PictureReader(
            (channels, height, width),
            None if limits is None else (float(limits[0]), float(limits[1])),
            content["drawn"],
            None if reader is None else ImageReader.from_json(reader),
            content["invert"],
        )

    def _one(self, image: np.ndarray) -> np.ndarray:
        """``[C, H, W]`` from ``[1 or 3, h, w]``."""
        if self.reader is not None:
            return self.reader.prepare(_channels(image, self.reader.shape[0]))
        grey = self._polarised(_channels(image, 1))
        size = self.shape[1]
        if self.drawn:
            return frame(grey[0], size)[None]
        picture = Image.fromarray(stretch(grey[0])).resize((size, size), Image.Resampling.BOX)
        small = np.clip(np.rint(np.asarray(picture)), 0, 255).astype(np.uint8)
        colours = Image.fromarray(np.ascontiguousarray(_channels(image, 3).transpose(1, 2, 0)))
        thumbnail = colours.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX).resize((size, size), 0)
        return np.concatenate([small[None], np.asarray(thumbnail).transpose(2, 0, 1)])

    def _polarised(self, grey: np.ndarray) -> np.ndarray:
        light = border_level(grey) > 127 if self.invert is None else self.invert
        return 255 - grey if light else grey


def learn_reader(X: Any, shape: tuple[int, int, int], invert: bool | None = None) -> PictureReader:
    """A reader for networks trained on framed drawings: looks at X for its range, and whether it holds drawings.

    Args:
        X: images, see `metacortex.estimators.inputs.kind_of`.
        shape: of what the network takes.
        invert: exchange dark and light always, never, or (``None``) where the border is light.
    """
    limits = _value_range(X)
    plain = PictureReader(shape, limits, invert=invert)
    shares = [_ground(plain._polarised(_channels(image, 1))) for image in _decoded(X, limits)]
    return PictureReader(shape, limits, bool(shares) and float(np.median(shares)) >= _DRAWN_SHARE, None, invert)


def _ground(grey: np.ndarray) -> float:
    level = border_level(grey)
    contrast = float(grey.max()) - level
    return float((np.abs(grey - level) < _FLAT * contrast).mean()) if contrast > 0 else 0.0


def _value_range(X: Any) -> tuple[float, float] | None:
    """What is 0 and what 255 in arrays of numbers; ``None`` for files and for arrays that say it themselves."""
    arrays = [np.asarray(x) for x in _rows(X) if isinstance(x, np.ndarray | Tensor)]
    empty = [row for row, a in enumerate(arrays) if a.size == 0]
    if empty:
        raise DataError(f"image {empty[0]} has shape {list(arrays[empty[0]].shape)}: it holds no pixels")
    if not arrays or arrays[0].dtype == np.bool_:
        return None
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    if not np.isfinite([low, high]).all():
        raise DataError("X holds NaN or infinite values: give images of finite numbers")
    if low >= 0 and (_DIM < high <= 255 or (high <= 1 and not np.issubdtype(arrays[0].dtype, np.integer))):
        return (0.0, 255.0) if high > 1 else (0.0, 1.0)
    return min(low, 0.0), max(high, min(low, 0.0) + 1.0)


def _rows(X: Any) -> Any:
    if isinstance(X, Tensor):
        return X.numpy(force=True)
    return X if isinstance(X, np.ndarray) and X.dtype.kind not in "OUS" else as_items(X)


def _decoded(X: Any, limits: tuple[float, float] | None) -> Iterator[np.ndarray]:
    """Each image as ``[1 or 3, h, w]`` uint8."""
    for row, item in enumerate(_rows(X)):
        if isinstance(item, str | Path):
            yield read_image(item, None, "RGB")
        elif isinstance(item, Image.Image):
            yield _flat(item)
        else:
            yield _array(np.asarray(item), row, limits)


def _flat(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _array(np.asarray(image), 0, None)
    front = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")
    return np.ascontiguousarray(np.asarray(flat).transpose(2, 0, 1))


def _array(image: np.ndarray, row: int, limits: tuple[float, float] | None) -> np.ndarray:
    if image.dtype.kind not in "buif":
        raise DataError(f"image {row} holds {image.dtype}, expected numbers")
    if image.ndim == 2:
        image = image[..., None]
    elif image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3, 4):
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise DataError(f"image {row} has shape {list(image.shape)}, expected [h, w] or [h, w, 3]")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError(f"image {row} holds NaN or infinite values: give finite numbers")
    pixels = to_uint8(image, None if image.dtype == np.bool_ else limits)
    if pixels.shape[-1] == 4:
        return _flat(Image.fromarray(pixels))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[0] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, 0)
    return np.asarray(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("L"))[None]
