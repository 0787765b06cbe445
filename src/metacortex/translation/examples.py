"""Example pairs of sentences from a file."""

from __future__ import annotations

from pathlib import Path

from metacortex.data.text.lines import clean, decode_line
from metacortex.errors import DataError

__all__ = ["read_pairs"]


def read_pairs(path: Path | str) -> tuple[tuple[str, str], ...]:
    """Read pairs of sentences: source, tab, target in each line; empty lines are passed over.

    Args:
        path: a text file in UTF-8.

    Raises:
        DataError: if it cannot be read, has no pair, or a line is not a pair; the line is named.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"cannot read example pairs from {path}: {error.strerror or error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        # The tab must outlive the cleaning of each side.
        sides = [decode_line(side) for side in line.split(b"\t")]
        if not any(sides):
            continue
        if len(sides) != 2 or not all(map(clean, sides)):
            raise DataError(
                f"{path}, line {number}: expected a sentence, a tab and its translation, got {len(sides)} "
                f"part{'s' if len(sides) > 1 else ''}"
            )
        found.append((sides[0], sides[1]))
    if not found:
        raise DataError(f"{path} has no pair of sentences: write source, tab, target in each line")
    return tuple(found)
