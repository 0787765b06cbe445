"""Example alphabets: characters drawn by the machine itself, from the fonts of Glyphs, each time by another hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from metacortex.data.glyph_distort import draw, drawers
from metacortex.data.glyph_fonts import Candidate, candidates, split_of
from metacortex.data.glyph_select import glyph_fields
from metacortex.playground.board import Drawing
from metacortex.playground.limits import Refused
from metacortex.playground.pictures import as_drawing

__all__ = ["Alphabet", "alphabets", "draw_example", "pick"]

_FONTS, _SIZE = 4, 84
_SHOWN = ("Georgian", "Armenian", "Tifinagh", "Hebrew", "Old Italic", "Ogham", "Lao", "N'Ko", "Greek", "Cyrillic")
_SEED = 2026
"""Not that of the training data: the hands are others."""


@dataclass(frozen=True)
class Alphabet:
    """A script.

    Attributes:
        name: e.g. ``"Georgian"``.
        characters: those that can be drawn.
        new: the shipped weights have never seen it.
    """

    name: str
    characters: tuple[Candidate, ...]
    new: bool


@cache
def alphabets() -> dict[str, Alphabet]:
    """The scripts on offer, by name; those that no training has seen come first."""
    found: dict[str, list[Candidate]] = {name: [] for name in _SHOWN}
    for character in candidates():
        if character.script in found:
            found[character.script].append(character)
    return {
        name: Alphabet(name, tuple(members), split_of(name) != "train")
        for name, members in found.items()
        if len(members) >= 5
    }


def pick(name: str, count: int, rng: np.random.Generator) -> list[Candidate]:
    """Some characters of a script that can be drawn, in the order of the alphabet.

    Raises:
        Refused: 404 for an unknown one.
    """
    if name not in alphabets():
        raise Refused(f"there is no alphabet of this name: choose one of {', '.join(alphabets())}", 404)
    members = alphabets()[name].characters
    # Twice as many as are needed: a few characters have no strokes to draw.
    rows = np.sort(rng.permutation(len(members))[: 2 * count])
    _, good = glyph_fields([(members[row].code, members[row].fonts[0]) for row in rows])
    kept = [members[row] for row, fine in zip(rows.tolist(), good.tolist(), strict=True) if fine]
    return kept[:count]


def draw_example(code: int, hand: int) -> Drawing:
    """A character as one of many hands draws it, dark on white.

    Args:
        code: code point of a character on offer.
        hand: which, from 0.

    Raises:
        Refused: 404 if nothing can draw it.
    """
    fonts = next((c.fonts for a in alphabets().values() for c in a.characters if c.code == code), ())
    unable = Refused("this character cannot be drawn here: choose one of an example alphabet", 404)
    if not fonts:
        raise unable
    fields, good = glyph_fields([(code, font) for font in fonts[:_FONTS]])
    if not good.any():
        raise unable
    hands = drawers(_SEED, code, hand + 1)
    own = np.flatnonzero(good)
    chosen = fields[own[(hands.font * len(own)).astype(int)]]
    return as_drawing(255 - draw(chosen, hands, _SIZE)[hand])
