"""Glyphs drawn with pens from fine to broad and seen sharp or blurred, framed as drawings of users are.

Handwriting comes from felt pens and from scanners of eight pixels a side. Each drawing of Glyphs takes a
pen of its own, between 6 and 24 % of the glyph's size, is seen at a resolution of its own, from eight pixels
for the whole glyph on, and is then cut to its ink (`metacortex.data.ink.frame`), which is set a little beside the
middle, as a stray stroke would do it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from metacortex.data.glyph_distort import Drawers, draw
from metacortex.data.ink import frame

__all__ = ["PENS_RECIPE", "draw_with_all_pens"]

PENS_RECIPE = 2
"""Version of everything here that decides about the pixels."""

_STREAM = 0x70656E73
"""Sets the random numbers of the pens apart from those of the hands."""
_FINEST, _BROADEST = 0.06, 0.24
_FEWEST, _MOST = 8.0, 28.0
_SHARP_SHARE = 0.25
_OVERSIZE = 2
_BESIDE, _ZOOM = 1.5, 0.1
"""Largest shift, in pixels of 28, and largest change of the size."""


def draw_with_all_pens(fields: np.ndarray, hands: Drawers, size: int, seed: int, code: int) -> np.ndarray:
    """Draw one image per drawer, each with a pen and at a resolution of its own.

    Args:
        fields: ``[D, 64, 64]`` uint8, see `metacortex.data.glyph_distort.draw`.
        hands: D drawers; their own pens are laid aside.
        size: side of the images in pixels.
        seed: with the code point, the key of the random numbers.
        code: code point of the character.

    Returns:
        ``[D, size, size]`` uint8, ink 255 on 0.
    """
    draws = np.random.Generator(np.random.Philox(key=np.array([seed ^ _STREAM, code], dtype=np.uint64)))
    u = draws.random((len(fields), 8))  # a multiple of 4, the generator's block
    longer = np.abs(np.linalg.det(hands.matrix)) ** -0.5
    pen = longer * np.exp(np.log(_FINEST) + u[:, 0] * np.log(_BROADEST / _FINEST))
    fine = draw(fields, replace(hands, pen=pen, softness=np.full(len(pen), 0.8)), _OVERSIZE * size)
    # Pixels across the sheet, so that the glyph itself gets between 8 and 28 of them.
    across = np.exp(np.log(_FEWEST) + u[:, 1] * np.log(_MOST / _FEWEST)) * 28.0 / longer
    images = np.empty((len(fields), size, size), np.uint8)
    for row, image in enumerate(fine):
        seen = image if u[row, 2] < _SHARP_SHARE else _seen_at(image, round(float(across[row])))
        shift = (2 * u[row, 3:5] - 1) * _BESIDE * size / 28
        zoom = 1 + _ZOOM * (2 * float(u[row, 5]) - 1)
        images[row] = frame(seen, size, shift=(float(shift[0]), float(shift[1])), zoom=zoom)
    return images


def _seen_at(image: np.ndarray, pixels: int) -> np.ndarray:
    """The image as a scanner of few pixels sees it: each is the mean of what lies under it."""
    if pixels >= len(image):
        return image
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.BOX))
