"""Drawers: how each of them bends a clean glyph, and with which pen it is drawn.

Everything about a drawing is a pure function of (seed, code point, drawer): the numbers come from a
counter-based generator whose key is (seed, code point) and whose counter is the drawer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from metacortex.data.glyph_render import BOX, FIELD, UNIT

__all__ = ["Drawers", "draw", "drawers"]

_KNOTS = 5
_PER_DRAWER = 32 + 4 * _KNOTS * _KNOTS  # a multiple of 4, the generator's block

# strengths, in units of the frame (a drawing of 28 x 28 pixels) and set by transfer to real handwriting
_FRAME = 28.0
_TURN, _SHEAR, _ASPECT = 0.14, 0.18, 0.16
_LONGER, _LONGER_SPREAD = 17.5, 3.6  # pixels of the glyph's longer side
_SHIFT = 1.7
_BEND = 1.15  # pixels of elastic distortion
_THIN, _THICK, _THICK_SHARE = 1.15, 2.6, 0.2


@dataclass(frozen=True, eq=False)
class Drawers:
    """The hands of D drawings.

    Attributes:
        font: ``[D]`` float in 0..1: which of the character's fonts.
        matrix: ``[D, 2, 2]``: from the frame's pixels (y, x) to those of a glyph whose longer side is 1.
        shift: ``[D, 2]`` pixels of the frame (y, x).
        bend: ``[D, 2, 5, 5]`` pixels of the frame: displacements at knots.
        pen, softness: ``[D]`` pixels of the frame: the width of a stroke and of its edge.
    """

    font: np.ndarray
    matrix: np.ndarray
    shift: np.ndarray
    bend: np.ndarray
    pen: np.ndarray
    softness: np.ndarray


def drawers(seed: int, code: int, count: int) -> Drawers:
    """The first `count` drawers of a character; more of them never change the ones before."""
    draws = np.random.Generator(np.random.Philox(key=np.array([seed, code], dtype=np.uint64)))
    u = draws.random((count, _PER_DRAWER))
    # sum of two uniforms, unit variance, at most 2.45 in size: no outliers, no library function in the way
    n = (u[:, 32:] + u[:, 32:][:, ::-1] - 1)[:, : 2 * _KNOTS * _KNOTS] * 6**0.5
    t = (u[:, 0:10] + u[:, 10:20] - 1) * 6**0.5
    longer = np.clip(_LONGER + _LONGER_SPREAD * t[:, 0], 9.0, 24.0)
    thick = u[:, 21] < _THICK_SHARE
    pen = np.where(thick, _THIN + (_THICK - _THIN) * u[:, 22], _THIN * (0.8 + 0.5 * u[:, 22]))
    return Drawers(
        font=u[:, 20],
        matrix=_matrices(_TURN * t[:, 1], _SHEAR * t[:, 2], _ASPECT * t[:, 3], longer),
        # a large drawing has less room to move in
        shift=_SHIFT * t[:, 4:6] * np.clip((_FRAME - 2 - longer) / 8, 0, 1)[:, None],
        bend=_BEND * n.reshape(count, 2, _KNOTS, _KNOTS),
        pen=np.minimum(pen, 0.16 * longer),
        softness=np.where(thick, 0.9 + 0.9 * u[:, 23], 0.75 + 0.4 * u[:, 23]),
    )


def _matrices(turn: np.ndarray, shear: np.ndarray, aspect: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """``[D, 2, 2]``: inverse of scaling, shearing along x, and turning."""
    cos, sin = np.cos(turn), np.sin(turn)
    tall, wide = np.exp(aspect / 2) * longer, np.exp(-aspect / 2) * longer
    # the determinant of shear and turn is 1, so the inverse is written down
    return np.stack(
        [
            np.stack([cos / tall, sin / tall], -1),
            np.stack([(-sin - shear * cos) / wide, (cos - shear * sin) / wide], -1),
        ],
        1,
    )


@lru_cache(maxsize=8)
def _spline(size: int) -> np.ndarray:
    """``[size, 5]``: weights of the knots at each pixel (uniform cubic B-spline, knots beyond the frame clamped)."""
    place = (np.arange(size) + 0.5) / size * (_KNOTS - 1)
    distance = np.abs(place[:, None] - np.arange(-1, _KNOTS + 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    weight = np.where(distance < 1, near, np.clip(2 - distance, 0, None) ** 3 / 6)
    inner = weight[:, 1:-1].copy()
    inner[:, 0] += weight[:, 0]
    inner[:, -1] += weight[:, -1]
    return inner.astype(np.float32)


def _displace(bend: np.ndarray, size: int) -> np.ndarray:
    """``[D, 2, size, size]`` from ``[D, 2, 5, 5]``; sums in a fixed order, so that every machine gives the same."""
    weights = _spline(size)
    rows = sum(weights[:, k, None] * bend[:, :, k, None, :] for k in range(_KNOTS))  # [D, 2, size, 5]
    return sum(weights[:, k] * rows[..., k, None] for k in range(_KNOTS))  # type: ignore[return-value,index]


def draw(fields: np.ndarray, hands: Drawers, size: int) -> np.ndarray:
    """Draw one image per drawer.

    Each output pixel asks where it came from, reads the distance to the nearest stroke there (four
    neighbours, bilinear) and is inked if that is within the pen's reach.

    Args:
        fields: ``[D, 64, 64]`` uint8: each drawer's glyph, from `metacortex.data.glyph_render.fields`.
        hands: D drawers.
        size: pixels of the image's side.

    Returns:
        ``[D, size, size]`` uint8, ink 255 on 0.
    """
    step = _FRAME / size
    line = ((np.arange(size) + 0.5) * step - _FRAME / 2).astype(np.float32)
    grid = _displace(hands.bend.astype(np.float32), size)  # [D, 2, size, size]
    grid[:, 0] += line[:, None] - hands.shift[:, 0, None, None].astype(np.float32)
    grid[:, 1] += line - hands.shift[:, 1, None, None].astype(np.float32)
    to_field = (hands.matrix * BOX).astype(np.float32)[..., None, None]  # [D, 2, 2, 1, 1]
    y = to_field[:, 0, 0] * grid[:, 0] + to_field[:, 0, 1] * grid[:, 1] + (FIELD - 1) / 2
    x = to_field[:, 1, 0] * grid[:, 0] + to_field[:, 1, 1] * grid[:, 1] + (FIELD - 1) / 2
    scale = np.abs(np.linalg.det(hands.matrix * BOX)) ** -0.5  # pixels of the frame per pixel of the field
    distance = _read(fields, y, x) * (scale / UNIT).astype(np.float32)[:, None, None]
    # a finer image has finer edges; the pen stays as wide as it was in the frame
    soft = np.maximum(hands.softness * min(step, 1.0), 0.5 * step).astype(np.float32)[:, None, None]
    ink = (hands.pen.astype(np.float32)[:, None, None] / 2 - distance) / soft + 0.5
    return np.rint(np.clip(ink, 0, 1) * 255).astype(np.uint8)


def _read(fields: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear samples of each field, the border continued: ``[D, size, size]`` float32."""
    y, x = np.clip(y, 0, FIELD - 1.001), np.clip(x, 0, FIELD - 1.001)
    row, column = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - row, x - column
    flat = fields.reshape(-1)
    start = row * FIELD + column + (np.arange(len(fields), dtype=np.int32) * FIELD * FIELD)[:, None, None]
    upper = flat[start] * (1 - fx) + flat[start + 1] * fx
    lower = flat[start + FIELD] * (1 - fx) + flat[start + FIELD + 1] * fx
    return upper * (1 - fy) + lower * fy
