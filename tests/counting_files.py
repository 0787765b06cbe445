"""Aligned files that count in several languages: sentences to learn from, made in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WORDS = {
    "en": ["one", "two", "three", "four", "five", "six"],
    "de": ["eins", "zwei", "drei", "vier", "fünf", "sechs"],
    "fr": ["un", "deux", "trois", "quatre", "cinq", "six"],
}


def write_counting(path: Path, languages: Sequence[str]) -> Path:
    """36 lines to learn from, 12 and 12 to be judged by, in each language; returns the folder."""
    for language in languages:
        words = WORDS[language]
        lines = [f"{a} {b} {c}" for a in words for b in words for c in words]
        for split, first in (("train", 0), ("val", 7), ("test", 11)):
            (path / f"{split}.{language}").write_text("\n".join(lines[first :: 6 if split == "train" else 18]) + "\n")
    return path
