"""Drawings brought to one form: bright ink on a dark ground, cut to the ink, of one size, in the middle."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["INK_SHARE", "frame", "stretch"]

INK_SHARE = 20 / 28
"""Longer side of the ink in a framed image, as a share of the image's side."""

_EDGE = 0.25
"""Brightness, of the brightest, from which a pixel is ink."""
_FAINT = 8.0
"""Contrast, in steps of 255, below which there is nothing to see in an image."""


def stretch(image: np.ndarray) -> np.ndarray:
    """Levels from the ground to the brightest ink: the median of the border becomes 0, the brightest 255.

    Args:
        image: ``[H, W]`` uint8 or float, ink bright.

    Returns:
        ``[H, W]`` float32 in 0..255; all zero for an image without contrast.
    """
    values = image.astype(np.float32)
    border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    low, high = float(np.median(border)), float(values.max())
    if high - low < _FAINT:
        return np.zeros_like(values)
    return np.clip((values - low) * (255.0 / (high - low)), 0, 255)


def frame(
    image: np.ndarray, size: int = 28, *, shift: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0
) -> np.ndarray:
    """Cut a drawing to its ink and set this in the middle of a square.

    The longer side of the ink becomes `INK_SHARE` of the square; the aspect stays. Where the drawing
    stood on the sheet, and how large it was, is thereby forgotten.

    Args:
        image: ``[H, W]`` uint8 or float, ink bright on a dark ground.
        size: side of the result in pixels.
        shift: moves the ink out of the middle, in pixels of the result (y, x).
        zoom: factor of the ink's size.

    Returns:
        ``[size, size]`` uint8; all zero for an image without contrast.

    Example:
        >>> sheet = np.zeros((50, 80), np.uint8)
        >>> sheet[10:20, 30:35] = 200
        >>> framed = frame(sheet)
        >>> framed.shape, int(framed[14, 14]), int(framed[14, 0])
        ((28, 28), 255, 0)
    """
    ink = stretch(image)
    rows, columns = np.flatnonzero((ink >= 255 * _EDGE).any(1)), np.flatnonzero((ink >= 255 * _EDGE).any(0))
    if len(rows) == 0:
        return np.zeros((size, size), np.uint8)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left) / (INK_SHARE * zoom)
    # The square may reach beyond the sheet.
    margin = int(np.ceil(side * (1 + max(map(abs, shift)) / size)))
    sheet = Image.fromarray(np.pad(ink[top:bottom, left:right], margin))
    y = margin + (bottom - top) / 2 - shift[0] * side / size
    x = margin + (right - left) / 2 - shift[1] * side / size
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    framed = np.asarray(sheet.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return np.clip(np.rint(framed), 0, 255).astype(np.uint8)
