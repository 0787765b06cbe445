"""Clean glyphs: a character becomes the middle line of its strokes, kept as a field of distances.

Fonts have thick, shaped strokes, a pen has none of that. Each glyph is therefore thinned to a
skeleton, and what is kept is every pixel's distance to it: drawing with a pen of any width is then a
threshold, also after the field has been bent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metacortex.data.glyph_fonts import font_path

__all__ = ["BOX", "FIELD", "UNIT", "fields", "mask", "thin"]

FIELD = 64
"""Side of a field in pixels."""

BOX = 44
"""The longer side of every glyph within its field; the margin is what distortion may bend into."""

UNIT = 32
"""Steps per pixel of the stored distances (uint8, so distances end at 8 pixels)."""

_PROBE = 32
_MARGIN = 8  # empty pixels around every glyph, so that all beyond the border is far from ink
_REACH = 8  # pixels; the squares up to (8 + 1)^2 + 8^2 fit into a byte
_SCALED = np.minimum(np.rint(np.sqrt(np.arange((_REACH + 1) ** 2 + 1)) * UNIT), 255).astype(np.uint8)
_LARGEST = 160
_FILLED = 15  # pixels of ink per pixel of skeleton: more is a filled shape, not a stroke (bold letters have up to 12)
_CHUNK = 512  # images thinned at once: their bit planes stay in the processor's cache


@lru_cache(maxsize=512)
def _font(index: int, size: int) -> ImageFont.FreeTypeFont:
    # the basic layout is in every build of Pillow and shapes nothing
    return ImageFont.truetype(str(font_path(index)), size, layout_engine=ImageFont.Layout.BASIC)


def _ink(code: int, font: int, size: int) -> Image.Image | None:
    """A character cropped to its ink; the font's own box is no use, it counts in the advance."""
    image = Image.new("L", (4 * size, 3 * size))
    ImageDraw.Draw(image).text((size, size // 2), chr(code), fill=255, font=_font(font, size))
    box = image.getbbox()
    return None if box is None else image.crop(box)


def mask(code: int, font: int) -> np.ndarray | None:
    """A character as a bool image ``[64, 64]``, centred, its longer side about `BOX`.

    Args:
        code: Unicode code point.
        font: index into `metacortex.data.glyph_fonts.FONTS`.

    Returns:
        The image, or ``None`` for what is empty, a tiny mark or a filled shape.
    """
    probe = _ink(code, font, _PROBE)
    size = 0 if probe is None else round(_PROBE * BOX / max(probe.size))
    glyph = _ink(code, font, size) if 0 < size <= _LARGEST else None
    if glyph is None or max(glyph.size) > FIELD - 2 * _MARGIN:
        return None
    image = Image.new("L", (FIELD, FIELD))
    image.paste(glyph, ((FIELD - glyph.width) // 2, (FIELD - glyph.height) // 2))
    return np.asarray(image) > 127


def thin(masks: np.ndarray) -> np.ndarray:
    """Skeletons of many images at once.

    The parallel thinning of Guo and Hall, "Parallel thinning with two-subiteration algorithms" (1989),
    algorithm A1, in bit operations on eight images per byte.

    Args:
        masks: ``[N, H, W]`` bool.

    Returns:
        ``[N, H, W]`` bool, strokes one pixel wide.
    """
    return np.concatenate([_thin(masks[i : i + _CHUNK]) for i in range(0, len(masks), _CHUNK)])


def _thin(masks: np.ndarray) -> np.ndarray:
    bits = np.packbits(masks, axis=0)  # [ceil(N/8), H, W]
    while True:
        before = bits
        for half in (0, 1):
            bits = bits & ~_removable(bits, half)
        if np.array_equal(bits, before):
            return np.unpackbits(bits, axis=0, count=len(masks)).astype(bool)


def _removable(bits: np.ndarray, half: int) -> np.ndarray:
    """The pixels that one sub-iteration takes away; p2 … p9 are the neighbours clockwise from north."""

    height, width = bits.shape[1:]
    padded = np.pad(bits, ((0, 0), (1, 1), (1, 1)))

    def at(dy: int, dx: int) -> np.ndarray:
        return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    p2, p3, p4, p5 = at(-1, 0), at(-1, 1), at(0, 1), at(1, 1)
    p6, p7, p8, p9 = at(1, 0), at(1, -1), at(0, -1), at(-1, -1)
    # exactly one run of ink around the pixel: taking it away breaks nothing
    runs = (~p2 & (p3 | p4), ~p4 & (p5 | p6), ~p6 & (p7 | p8), ~p8 & (p9 | p2))
    one, more = _count(runs)[:2]
    # two or three neighbours by the smaller of both pairings: neither an end of a line nor inside
    low = _count((p9 | p2, p3 | p4, p5 | p6, p7 | p8))
    high = _count((p2 | p3, p4 | p5, p6 | p7, p8 | p9))
    two, four = low[1] & high[1], low[2] & high[2]
    side = (p6 | p7 | ~p9) & p8 if half else (p2 | p3 | ~p5) & p4
    return one & ~more & two & ~four & ~side


def _count(terms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of four bit planes: is at least one set, at least two, all four."""
    a, b, c, d = terms
    return a | b | c | d, (a & b) | (c & d) | ((a | b) & (c | d)), a & b & c & d


def fields(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel to the nearest pixel of the skeleton.

    Args:
        masks: ``[N, 64, 64]`` bool, with at least 8 empty pixels at each border.

    Returns:
        ``[N, 64, 64]`` uint8, in steps of 1 / `UNIT` pixel, 255 for all that is farther; and ``[N]`` bool:
        whether the glyph is made of strokes (a filled disc is not).
    """
    lines = thin(masks)
    return _SCALED[_squared_distance(lines)], masks.sum((1, 2)) <= _FILLED * np.maximum(lines.sum((1, 2)), 1)


def _squared_distance(lines: np.ndarray) -> np.ndarray:
    """Exact squared Euclidean distance up to `_REACH`, columns first and then rows: ``[N, H, W]`` uint8."""
    down = np.where(lines, 0, _REACH + 1).astype(np.uint8)
    height, width = lines.shape[1:]
    for y in range(1, height):
        np.minimum(down[:, y], down[:, y - 1] + 1, out=down[:, y])
    for y in range(height - 2, -1, -1):
        np.minimum(down[:, y], down[:, y + 1] + 1, out=down[:, y])
    far = (_REACH + 1) ** 2
    padded = np.pad(down * down, ((0, 0), (0, 0), (_REACH, _REACH)), constant_values=far)
    best = np.full(lines.shape, far, dtype=np.uint8)
    for dx in range(-_REACH, _REACH + 1):
        np.minimum(best, padded[:, :, _REACH + dx : _REACH + dx + width] + np.uint8(dx * dx), out=best)
    return best
