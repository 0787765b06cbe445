"""How much a visitor may ask of the page, and the error that says no."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from metacortex.errors import DataError

__all__ = ["Limits", "Refused", "clean_name"]


class Refused(DataError):
    """A request that is not carried out.

    Args:
        message: what was expected, what came, what to do.
        status: HTTP status, 4xx or 503.
        wait: seconds after which it is worth trying again.
    """

    def __init__(self, message: str, status: int = 400, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait = status, wait


@dataclass(frozen=True)
class Limits:
    """Bounds on one visitor and on all of them.

    Attributes:
        upload: bytes of an image or of a request.
        skill_file: bytes of an uploaded skill.
        pixels: of an uploaded image, before it is decoded.
        classes, drawings, skills, name: per visitor: classes, drawings in all of them, kept skills, letters of a name.
        undo: changes that can be taken back.
        queries: questions that are remembered.
        session_bytes: drawings of a visitor, skills and undo included.
        sessions: visitors; the one seen least recently is forgotten first.
        total_bytes: drawings of all visitors.
        idle: seconds after which a visitor is forgotten.
        rate, burst: requests per second of a visitor, and how many at once.
        new_rate, new_burst: the same for new visitors from one address.
        at_once: computations at the same time.
        wait: seconds that a request waits for its turn.
        rivals: networks waiting to be trained from scratch.
    """

    upload: int = 4_000_000
    skill_file: int = 4_000_000
    pixels: int = 25_000_000
    classes: int = 20
    drawings: int = 100
    skills: int = 12
    name: int = 40
    undo: int = 30
    queries: int = 8
    session_bytes: int = 16_000_000
    sessions: int = 200
    total_bytes: int = 256_000_000
    idle: float = 12 * 3600.0
    rate: float = 20.0
    burst: int = 80
    new_rate: float = 2.0
    new_burst: int = 120
    at_once: int = 2
    wait: float = 30.0
    rivals: int = 40


def clean_name(text: object, longest: int = 40) -> str:
    """A name as people write it: composed letters, no control characters, single spaces.

    It is only ever shown as text and never used as a path.

    Raises:
        Refused: if it is no text, empty or too long.

    Example:
        >>> clean_name("  my\\trunes ")
        'my runes'
    """
    if not isinstance(text, str):
        raise Refused(f"expected a name, got {type(text).__name__}")
    composed = unicodedata.normalize("NFC", text[: 8 * longest])
    # Categories C*: control, format (which can turn the direction of writing around), surrogates, unassigned.
    visible = "".join(" " if c.isspace() else c for c in composed if c.isspace() or unicodedata.category(c)[0] != "C")
    name = " ".join(visible.split())
    if not name:
        raise Refused("expected a name, got an empty text")
    if len(name) > longest:
        raise Refused(f"a name has at most {longest} letters, got {len(name)}")
    return name
