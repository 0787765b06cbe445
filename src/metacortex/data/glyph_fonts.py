"""Which characters Glyphs is made of: the fonts that matplotlib ships, scripts, and the split of each script."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

from metacortex.errors import DataError

__all__ = ["FONTS", "HELD_OUT", "Candidate", "candidates", "font_path", "fonts_digest", "split_of"]

FONTS = (
    "DejaVuSans",
    "DejaVuSerif",
    "STIXGeneral",
    "DejaVuSerif-Italic",
    "STIXGeneralItalic",
    "DejaVuSansMono",
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "STIXGeneralBol",
    "DejaVuSans-Oblique",
    "DejaVuSansMono-Bold",
    "STIXGeneralBolIta",
    "DejaVuSerif-BoldItalic",
)
"""Files in order of preference; a character takes the first ones that have it, different designs first."""

HELD_OUT = {
    "val": ("Hebrew", "Lao", "Nko", "Ogham", "Old"),
    "test": ("Armenian", "Georgian", "Tifinagh"),
}
"""Scripts of which no character is ever trained on; all others belong to ``"train"``."""

# What is no drawing of a pen: grids of dots, boxes, filled shapes, and series that only differ in a count.
_DROPPED = frozenset(
    """
    APL BLACK BLOCK BOX BRAILLE COMBINING DARK DIGRAM DOMINO FACE FULL HEAVY HEXAGRAM LIGHT MEDIUM MODIFIER
    MONOGRAM NEGATIVE PLAYING QUADRANT SHADE SMILING SPACING SUPERSCRIPT SUBSCRIPT TETRAGRAM TRIGRAM SYMBOL
    VARIATION FULLWIDTH HALFWIDTH PARENTHESIZED VULGAR ROMAN INVERSE SQUARED
    """.split()  # noqa: SIM905 - a word list reads better than one word a line
)
_SYMBOLS = frozenset(("Sm", "So", "Sc"))
_LETTERS = frozenset(("Lu", "Ll", "Lo", "Lt", "Nd", "Nl"))
_SCRIPTS = frozenset(
    """
    Arabic Armenian Canadian Coptic Cyrillic Georgian Greek Hebrew Lao Latin Lisu Mathematical Nko Ogham Old
    Tifinagh
    """.split()  # noqa: SIM905 - a word list reads better than one word a line
)
_LONG_NAMES = {"Old": "Old Italic", "Canadian": "Canadian syllabics", "Nko": "N'Ko"}


@dataclass(frozen=True)
class Candidate:
    """A character that may become a class.

    Attributes:
        code: Unicode code point.
        script: its script, e.g. ``"Armenian"``; ``"Symbols"`` for what belongs to none.
        fonts: indices into `FONTS` of the files that have it, in order of preference.
    """

    code: int
    script: str
    fonts: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the class, e.g. ``"Armenian/U+0531 Ա"``."""
        return f"{self.script}/U+{self.code:04X} {chr(self.code)}"


def font_path(index: int) -> Path:
    """The file of a font.

    Raises:
        DataError: if matplotlib was installed without it.
    """
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONTS[index]}.ttf"
    if not path.is_file():
        raise DataError(f"matplotlib's font {path} is missing, Glyphs is rendered from it: reinstall matplotlib")
    return path


@cache
def fonts_digest() -> str:
    """SHA-256 over all font files: other fonts give other glyphs."""
    digest = hashlib.sha256()
    for index in range(len(FONTS)):
        digest.update(font_path(index).read_bytes())
    return digest.hexdigest()


def split_of(script: str) -> str:
    """The split that a script belongs to."""
    return next((s for s, names in HELD_OUT.items() if script in {_LONG_NAMES.get(n, n) for n in names}), "train")


def _script(code: int) -> str | None:
    """The script of a code point, or ``None`` where it is not to be a class."""
    name, category = unicodedata.name(chr(code), ""), unicodedata.category(chr(code))
    first = name.split(" ")[0].capitalize()
    # Western digits stay out of training, so that handwritten digits are new to a learner
    if not name or first.upper() in _DROPPED or ("DIGIT" in name and first in ("Digit", "Mathematical")):
        return None
    if first in _SCRIPTS:
        return _LONG_NAMES.get(first, first) if category in _LETTERS else None
    return "Symbols" if category in _SYMBOLS else None


def candidates(fewest_fonts: int = 2) -> Sequence[Candidate]:
    """All characters in at least `fewest_fonts` files, in the order of code points."""
    found: dict[int, list[int]] = {}
    for index in range(len(FONTS)):
        for code in FT2Font(str(font_path(index))).get_charmap():
            found.setdefault(code, []).append(index)
    chosen = []
    for code in sorted(found):
        script = _script(code)
        if script is not None and len(found[code]) >= fewest_fonts:
            chosen.append(Candidate(code, script, tuple(found[code])))
    return chosen
