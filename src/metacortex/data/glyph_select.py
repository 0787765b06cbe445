"""The classes of Glyphs: characters that can be told apart from all others, also across splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from metacortex.data.dataset import SPLITS
from metacortex.data.glyph_fonts import Candidate, candidates, split_of
from metacortex.data.glyph_lookalikes import distinct, signatures, turned
from metacortex.data.glyph_render import fields, mask

__all__ = ["Chosen", "choose", "glyph_fields"]

_CHUNK = 512
_OWN_LIMIT = 0.7  # for a glyph and itself turned: a tall O and a wide one are the same to a drawer


@dataclass(frozen=True)
class Chosen:
    """A character that is a class.

    Attributes:
        character: code point, script and fonts.
        split: the split of its script.
        turns: the quarter turns (0 always among them) under which it is unlike all other classes of its
            split, whichever way these are turned, and unlike itself under an earlier turn.
    """

    character: Candidate
    split: str
    turns: tuple[int, ...]


def glyph_fields(pairs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Fields of (code point, font) pairs.

    Returns:
        ``[N, 64, 64]`` uint8 fields, and ``[N]`` bool: whether each is a glyph made of strokes.
    """
    masks = [mask(code, font) for code, font in pairs]
    there = np.array([m is not None for m in masks])
    shapes = np.stack([np.zeros((64, 64), dtype=bool) if m is None else m for m in masks])
    distances, drawn = fields(shapes)
    return distances, there & drawn


def _marks(characters: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """Signature of each character in its first font, ``[N, 16, 16]``, and whether it is usable, ``[N]``."""
    parts = []
    for start in range(0, len(characters), _CHUNK):
        distances, good = glyph_fields([(c.code, c.fonts[0]) for c in characters[start : start + _CHUNK]])
        parts.append((signatures(distances), good))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


@cache
def choose() -> tuple[Chosen, ...]:
    """The classes, split by split in the order of code points.

    Training scripts come first: a character of a held-out script is dropped if it looks like one that
    is trained on, turned any way, so that nothing in validation or test has been seen before.
    """
    everything = candidates()
    marks, good = _marks(everything)
    chosen: list[Chosen] = []
    seen = np.zeros((0, *marks.shape[1:]), dtype=marks.dtype)
    for split in SPLITS:
        rows = np.array([i for i, c in enumerate(everything) if good[i] and split_of(c.script) == split])
        kept = rows[distinct(marks[rows], seen)]
        turns = _turns(marks[kept])
        chosen += [Chosen(everything[i], split, t) for i, t in zip(kept.tolist(), turns, strict=True)]
        seen = np.concatenate([seen, *(turned(marks[kept], k) for k in range(4))])
    return tuple(chosen)


def _turns(marks: np.ndarray) -> list[tuple[int, ...]]:
    """For each glyph the turns that make another class of it: not of X, and d turned twice is p."""
    turns: list[tuple[int, ...]] = [(0,)] * len(marks)
    seen = marks
    for k in (1, 2, 3):
        new = turned(marks, k)
        differs = np.stack([(new * turned(marks, j)).sum((1, 2)) < _OWN_LIMIT for j in range(k)]).all(0)
        keep = np.zeros(len(marks), dtype=bool)
        keep[differs] = distinct(new[differs], seen)
        seen = np.concatenate([seen, new[keep]])
        turns = [(*t, k) if yes else t for t, yes in zip(turns, keep.tolist(), strict=True)]
    return turns
