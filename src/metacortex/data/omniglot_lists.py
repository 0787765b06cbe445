"""Which characters belong to which split of Omniglot, in each protocol.

The names and numbers of characters are in ``omniglot_classes.json``; the Vinyals split is that of
Vinyals et al., "Matching Networks for One Shot Learning" (2016), as published with the code of Snell,
Swersky and Zemel, "Prototypical Networks for Few-shot Learning" (2017).
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from metacortex.errors import unknown_name

__all__ = ["DRAWINGS", "PROTOCOLS", "Lists", "load_lists", "protocol_splits"]

DRAWINGS = 20
"""Drawings of every character, each by another person."""

PROTOCOLS = {
    "vinyals": "Vinyals split",
    "random1200": "random split",
    "within": "within alphabets, evaluation alphabets for test",
    "background": "within alphabets, all 30 background alphabets for training, evaluation alphabets for test",
    "small1": "within alphabets, 5 training alphabets (small1), evaluation alphabets for test",
    "small2": "within alphabets, 5 training alphabets (small2), evaluation alphabets for test",
}
"""Protocols and what they are called beside a figure."""


@dataclass(frozen=True)
class Lists:
    """Characters of Omniglot.

    Attributes:
        background: number of characters of each alphabet of ``images_background.zip``.
        evaluation: the same for ``images_evaluation.zip``.
        small: the alphabets of the two small background sets.
        vinyals: for each split, alphabets with ``"all"`` or the numbers of the characters.
    """

    background: dict[str, int]
    evaluation: dict[str, int]
    small: dict[str, tuple[str, ...]]
    vinyals: dict[str, dict[str, Any]]

    def characters(self, part: str) -> list[str]:
        """Sorted ``"Alphabet/characterNN"`` of ``"background"`` or ``"evaluation"``."""
        counts = self.background if part == "background" else self.evaluation
        return sorted(_name(a, i) for a, n in counts.items() for i in range(1, n + 1))


@functools.cache
def load_lists() -> Lists:
    """The lists that come with the package."""
    raw = json.loads(resources.files("metacortex.data").joinpath("omniglot_classes.json").read_text(encoding="utf-8"))
    small = {key: tuple(raw[key]) for key in ("small1", "small2")}
    return Lists(raw["background"], raw["evaluation"], small, raw["vinyals"])


def protocol_splits(protocol: str, lists: Lists) -> dict[str, list[str]]:
    """The sorted characters of each split.

    ``vinyals`` is as published. ``random1200`` orders all characters by the SHA-256 of their names and takes
    1,200 for training (the last 100 of which for validation) and the rest for test. ``within``,
    ``small1`` and ``small2`` test on the evaluation alphabets and validate on the alphabets that
    Vinyals' split validates on (all of the background set), except those the small set trains on;
    ``within`` trains on the other background alphabets, the small ones on their five. ``background`` trains on
    all 30 background alphabets and so leaves none to validate on.

    Raises:
        SettingsError: for an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("omniglot protocol", protocol, PROTOCOLS)
    if protocol == "vinyals":
        return {split: sorted(_listed(lists, table)) for split, table in lists.vinyals.items()}
    if protocol == "random1200":
        return _random_split(lists)
    if protocol == "background":
        return {"train": lists.characters("background"), "test": lists.characters("evaluation")}
    held = set(lists.vinyals["val"])
    trained = set(lists.small[protocol]) if protocol in lists.small else set(lists.background) - held
    background = lists.characters("background")
    return {
        "train": [c for c in background if c.split("/")[0] in trained],
        "val": [c for c in background if c.split("/")[0] in held - trained],
        "test": lists.characters("evaluation"),
    }


def _name(alphabet: str, number: int) -> str:
    return f"{alphabet}/character{number:02d}"


def _listed(lists: Lists, table: dict[str, Any]) -> list[str]:
    counts = lists.background | lists.evaluation
    return [_name(a, i) for a, which in table.items() for i in (range(1, counts[a] + 1) if which == "all" else which)]


def _random_split(lists: Lists) -> dict[str, list[str]]:
    # a hash instead of a generator: the same on every machine and in every version of numpy
    names = lists.characters("background") + lists.characters("evaluation")
    names.sort(key=lambda n: hashlib.sha256(f"random1200/{n}".encode()).digest())
    train = round(len(names) * 1200 / 1623)
    val = round(train / 12)
    return {
        "train": sorted(names[: train - val]),
        "val": sorted(names[train - val : train]),
        "test": sorted(names[train:]),
    }
