"""What is registered of a learner: its class, its settings, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from metacortex.learners.base import Learner
from metacortex.learners.objective import CrossEntropy, Objective

__all__ = ["Entry", "Kind", "LearnerSpec", "NoSettings", "features_of"]

Kind = Literal["classification", "regression", "translation"]
"""What the tasks of a learner ask for."""


@dataclass(frozen=True)
class LearnerSpec:
    """What a learner is built for.

    Attributes:
        way: classes of its tasks (a fixed head has as many outputs); for regression the number of outputs.
        train_classes: classes of the meta-training split (for pre-training).
        kind: what its tasks ask for.
        objective: what its predictions are judged by.
    """

    way: int
    train_classes: int = 0
    kind: Kind = "classification"
    objective: Objective = field(default_factory=CrossEntropy)


@dataclass(frozen=True)
class Entry:
    """A registered learner.

    Attributes:
        learner: the class.
        settings: frozen dataclass of its settings, all with defaults.
        build: makes it from a backbone with an attribute ``features``, a `LearnerSpec` and settings.
        summary: one line for listings.
        kinds: the kinds of tasks that it can be built for.
    """

    learner: type[Learner]
    settings: type
    build: Callable[[nn.Module, LearnerSpec, dict[str, Any]], Learner]
    summary: str
    kinds: tuple[Kind, ...] = ("classification",)


@dataclass(frozen=True)
class NoSettings:
    """A learner without settings."""


def features_of(backbone: nn.Module) -> int:
    """Length of the feature vectors that a backbone gives."""
    return int(backbone.features)  # type: ignore[arg-type]
