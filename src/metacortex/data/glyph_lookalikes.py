"""Look-alikes: characters that no one could tell apart, such as Latin A, Greek Alpha and Cyrillic A."""

from __future__ import annotations

import numpy as np

from metacortex.data.glyph_render import FIELD, UNIT

__all__ = ["LIMIT", "distinct", "signatures", "turned"]

LIMIT = 0.9
"""Correlation of two signatures from which on the characters count as one."""

_CELL = 4
_REACH = 5.0  # pixels of the field: the blur that forgives small differences of shape


def signatures(fields: np.ndarray) -> np.ndarray:
    """What a glyph looks like from afar: blurred strokes on a coarse grid, mean 0, length 1.

    Args:
        fields: ``[N, 64, 64]`` uint8 distances.

    Returns:
        ``[N, 16, 16]`` float32; the product of two is the correlation of the glyphs.
    """
    ink = np.clip(1 - fields.astype(np.float32) / (UNIT * _REACH), 0, 1)
    cells = FIELD // _CELL
    coarse = ink.reshape(-1, cells, _CELL, cells, _CELL).mean((2, 4))  # [N, 16, 16]
    coarse -= coarse.mean((1, 2), keepdims=True)
    return coarse / np.maximum(np.sqrt((coarse**2).sum((1, 2), keepdims=True)), 1e-6)


def turned(marks: np.ndarray, turns: int) -> np.ndarray:
    """Signatures of the same glyphs after quarter turns counter-clockwise."""
    return np.rot90(marks, turns, axes=(1, 2))


def distinct(marks: np.ndarray, against: np.ndarray | None = None, limit: float = LIMIT) -> np.ndarray:
    """Which glyphs are unlike all that were kept before them, the first one of each kind winning.

    Args:
        marks: ``[N, 16, 16]`` signatures, in order of precedence.
        against: ``[M, 16, 16]`` signatures that none may resemble.
        limit: correlation from which on two are alike.

    Returns:
        ``[N]`` bool.
    """
    flat = marks.reshape(len(marks), -1)
    keep = np.ones(len(flat), dtype=bool)
    if against is not None and len(against):
        keep = (flat @ against.reshape(len(against), -1).T).max(1) < limit
    left = np.flatnonzero(keep)
    alike = flat[left] @ flat[left].T >= limit
    for i, row in enumerate(left):
        if keep[row]:
            keep[left[i + 1 :][alike[i, i + 1 :]]] = False
    return keep
