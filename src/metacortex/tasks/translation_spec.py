"""What a translation task is asked to be: how large, how it is described, and whether the description is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from metacortex.errors import SettingsError, unknown_name
from metacortex.tasks.descriptions import WORDINGS, Wording

__all__ = ["DESCRIPTIONS", "ORDERS", "TOLD", "Description", "Order", "Told", "TranslationSpec"]

Description = Literal["words", "pairs", "both", "any", "none"]
Told = Literal["true", "shuffled", "wrong", "empty"]
Order = Literal["drawn", "epochs"]
Range = tuple[int, int]

DESCRIPTIONS: tuple[Description, ...] = get_args(Description)
"""What a task is described by: words, pairs of example sentences, both, any of these, or nothing but its tags."""

TOLD: tuple[Told, ...] = get_args(Told)
"""Whether the description is true; see `TranslationSpec`."""

ORDERS: tuple[Order, ...] = get_args(Order)
"""How queries are chosen; see `TranslationSpec`."""


@dataclass(frozen=True)
class TranslationSpec:
    """The size and description of translation tasks.

    Attributes:
        shot: support pairs, an int or an inclusive range ``(low, high)`` drawn per task; may be 0.
        queries: query pairs, likewise, at least 1.
        description: ``"words"``, ``"pairs"`` (the support; no words), ``"both"`` or ``"none"``; ``"any"``: each task is
            described by words, by pairs or by both, each as likely, so that a learner comes to do with either. Tags
            of the languages are always there; only learners whose description they are may read them.
        wording: of the words: ``"training"``, ``"unseen"`` paraphrases, or ``"plain"``, always the same wording.
        told: ``"true"``; or, to see whether a learner heeds its description: ``"shuffled"`` (words, tags and support
            pairs of another pair of languages), ``"wrong"`` (right source, another target) or ``"empty"`` (no words,
            no support, tags -1). The queries stay what they are.
        max_length: subwords of a sentence; longer ones are in no task (and are cut where a whole set is translated).
        order: ``"drawn"``: the queries of each task are drawn from all sentences of its pair; ``"epochs"``: tasks go
            through all sentences of all pairs, each once per epoch, those of like length together, which is the quick
            way to train: little padding. ``queries`` must then be one number; the parts of a pair are of equal size
            up to one, and at most that large.

    Raises:
        SettingsError: for a value out of range or choices that exclude each other.

    Example:
        >>> str(TranslationSpec(shot=(0, 5), queries=16, description="both"))
        '0..5 support pairs, 16 queries, described by both'
    """

    shot: int | Range = 0
    queries: int | Range = 32
    description: Description = "words"
    wording: Wording = "training"
    told: Told = "true"
    max_length: int = 64
    order: Order = "drawn"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("description", self.description, DESCRIPTIONS),
            ("wording", self.wording, WORDINGS),
            ("told", self.told, TOLD),
            ("order", self.order, ORDERS),
        ):
            if value not in known:
                raise unknown_name(f"value for {name}", str(value), known)
        for name, least in (("shot", 0), ("queries", 1)):
            object.__setattr__(self, name, _size(name, getattr(self, name), least))
        if not _is_int(self.max_length) or self.max_length < 1:
            raise SettingsError(f"max_length: expected a positive int, got {self.max_length!r}")
        if self.description in ("words", "none") and self.range_of("shot")[1]:
            raise SettingsError(
                f"a task described by {self.description} has no support pairs, got shot={self.shot}: set shot to 0, or "
                "description to 'pairs' or 'both'"
            )
        if self.order == "epochs" and not _is_int(self.queries):
            raise SettingsError(f"queries: expected one number for tasks in epochs, got {self.queries}")

    def range_of(self, name: str) -> Range:
        """``(low, high)`` of ``"shot"`` or ``"queries"``."""
        value = getattr(self, name)
        return (value, value) if _is_int(value) else value

    @property
    def in_words(self) -> bool:
        """Whether the description has words."""
        return self.description in ("words", "both", "any")

    def __str__(self) -> str:
        sizes = ("..".join(map(str, dict.fromkeys(self.range_of(name)))) for name in ("shot", "queries"))
        shot, queries = sizes
        parts = [f"{shot} support pairs", f"{queries} queries", f"described by {self.description}"]
        if self.in_words and self.wording != "training":
            parts.append(f"{self.wording} wording")
        if self.told != "true":
            parts.append(f"{self.told} description")
        return ", ".join(parts)


def _size(name: str, value: Any, least: int) -> int | Range:
    pair = (value, value) if _is_int(value) else tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2 or not all(map(_is_int, pair)) or not least <= pair[0] <= pair[1]:
        raise SettingsError(
            f"{name}: expected an int of at least {least}, or a range (low, high) of them, got {value!r}"
        )
    return pair if isinstance(value, tuple | list) else pair[0]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
