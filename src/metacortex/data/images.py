"""Read one image file, whatever it is, into a small uint8 array."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageOps

from metacortex.data.dataset import square
from metacortex.errors import DataError

__all__ = ["MAX_PIXELS", "read_image", "to_uint8"]

MAX_PIXELS = 64_000_000
"""Images with more pixels are refused before they are decoded."""

# no EPS and the like: their readers start other programs
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "ICO", "TGA", "PCX", "JPEG2000")


def read_image(
    file: str | Path | IO[bytes],
    size: int | Sequence[int] | None = 28,
    mode: Literal["L", "RGB"] = "L",
    *,
    invert: bool | Literal["auto"] = False,
    resample: Image.Resampling = Image.Resampling.LANCZOS,
    name: str | None = None,
) -> np.ndarray:
    """Read the (first) image of a file.

    Transparency is laid over white, the camera's orientation is applied, colours of any mode become
    grey or RGB, 16-bit and float images are scaled to 8 bits. The picture is stretched to `size` with
    antialiasing.

    Args:
        file: a path or an open binary file.
        size: pixels, or (height, width); ``None`` keeps the size of the file.
        mode: ``"L"`` (grey) or ``"RGB"``.
        invert: ``True`` exchanges dark and light (dark ink on paper becomes bright ink on 0); ``"auto"``
            does so when the border of the picture is light.
        resample: Pillow's filter.
        name: what to call the file in errors.

    Returns:
        ``[C, H, W]`` uint8 with C = 1 or 3.

    Raises:
        DataError: naming the file, if it is missing, empty, no image, cut short, or too large.
    """
    title = name or str(file if isinstance(file, str | Path) else getattr(file, "name", file))
    if mode not in ("L", "RGB"):
        raise DataError(f"mode must be 'L' or 'RGB', got {mode!r}")
    if invert not in (True, False, "auto"):
        raise DataError(f"invert must be True, False or 'auto', got {invert!r}")
    image = _decode(file, title, mode)
    if invert is True or (invert == "auto" and _light_border(image)):
        image = ImageOps.invert(image)
    if size is not None:
        height, width = square(size)
        if image.size != (width, height):
            image = image.resize((width, height), resample)
    array = np.asarray(image)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))  # [H, W, C] -> [C, H, W]


def to_uint8(values: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Scale numbers to 0..255.

    Args:
        values: any shape, bool, whole or floating-point, finite.
        value_range: what becomes 0 and 255. When not given: booleans 0 and 1; floats within [0, 1] are
            taken as such; anything within [0, 255] is kept; whole numbers within [0, 65535] are 16-bit;
            anything else is stretched from its least to its greatest value.

    Returns:
        uint8 array of the same shape.

    Raises:
        DataError: for a range that is empty.
    """
    if values.dtype == np.uint8 and value_range is None:
        return values
    data = values.astype(np.float64)
    low, high = value_range or _guess_range(values)
    if not high > low:
        raise DataError(f"value_range must be (low, high) with low < high, got {value_range}")
    return np.clip(np.rint((data - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)


def _guess_range(values: np.ndarray) -> tuple[float, float]:
    if values.size == 0 or values.dtype == np.bool_:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    whole = np.issubdtype(values.dtype, np.integer)
    if low >= 0.0:
        if not whole and high <= 1.0:
            return 0.0, 1.0
        if high <= 255.0:
            return 0.0, 255.0
        if whole and high <= 65535.0:
            return 0.0, 65535.0
    return low, max(high, low + 1.0)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(f for f in _FORMATS if f in Image.OPEN)


def _decode(file: str | Path | IO[bytes], title: str, mode: str) -> Image.Image:
    if isinstance(file, str | Path) and Path(file).is_dir():
        raise DataError(f"{title} is a folder, expected an image file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; ours is the stricter limit, and an error
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(
                        f"{title}: the image has {image.width}x{image.height} pixels, at most "
                        f"{MAX_PIXELS // 1_000_000} million are read: make it smaller"
                    )
                image.load()
                return _flatten(ImageOps.exif_transpose(image), title, mode)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{title}: there is no such file") from None
    except PermissionError:
        raise DataError(f"{title}: no permission to read it") from None
    except Image.DecompressionBombError:
        raise DataError(f"{title}: the image is far too large: make it smaller") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{title}: not an image (empty, damaged, or a format that is not read)") from None
    except Exception as error:  # the many decoders raise whatever the damage leads them to
        raise DataError(f"{title}: damaged or cut-short image ({error})") from None


def _flatten(image: Image.Image, title: str, mode: str) -> Image.Image:
    """8-bit grey or RGB from any of Pillow's modes."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray(to_uint8(np.asarray(image).astype(np.uint16), (0, 65535)))
    elif image.mode in ("I", "F"):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise DataError(f"{title}: the image holds NaN or infinite values")
        # some versions of Pillow read 16-bit PNG as 32-bit numbers
        deep = image.mode == "I" and values.min() >= 0 and values.max() <= 65535
        image = Image.fromarray(to_uint8(values, (0, 65535) if deep else None))
    elif "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        front = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")
    elif image.mode not in ("L", "RGB", "1", "P"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _light_border(image: Image.Image) -> bool:
    grey = np.asarray(image.convert("L"))
    return bool(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])) > 127)
