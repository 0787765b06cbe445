"""What a skill says of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Neighbour"]


@dataclass(frozen=True)
class Neighbour:
    """A support example near to an image.

    Attributes:
        example: its file, as ``class/file``.
        label: its class.
        distance: between the two embeddings, at least 0.
    """

    example: str
    label: str
    distance: float


@dataclass(frozen=True)
class Answer:
    """What a skill says of one image.

    Attributes:
        name: the file, or the position of the image among those given.
        most_likely: the most probable class.
        probabilities: class name -> probability, the most probable first; they sum to 1.
        nearest: the nearest support examples, nearest first.
        score: how far the image is from everything the skill knows, at least 0.
        threshold: largest score that counts as known, ``None`` if the run has no calibration.
        known: False for "none of these"; always True without a threshold.
    """

    name: str
    most_likely: str
    probabilities: Mapping[str, float]
    nearest: tuple[Neighbour, ...]
    score: float
    threshold: float | None
    known: bool

    @property
    def label(self) -> str | None:
        """The class, or ``None`` for "none of these"."""
        return self.most_likely if self.known else None

    def to_json(self) -> dict[str, Any]:
        """The answer as ``metacortex predict --json`` prints it."""
        return {
            "image": self.name,
            "label": self.label,
            "known": self.known,
            "most_likely": self.most_likely,
            "probabilities": dict(self.probabilities),
            "nearest": [{"example": n.example, "label": n.label, "distance": n.distance} for n in self.nearest],
            "score": self.score,
            "threshold": self.threshold,
        }
