"""Learners by name: what the command line, the trainer and the law tests go through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from metacortex.errors import unknown_name
from metacortex.learners.base import Learner
from metacortex.learners.gradient.maml import MAML, MAMLSettings
from metacortex.learners.metric.protonet import ProtoNet, ProtoNetSettings
from metacortex.learners.transfer.fine_tuning import FineTuning, FineTuningSettings, FromScratch
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.nn.classifier import Classifier
from metacortex.nn.registry import make_backbone

__all__ = ["Entry", "LearnerSpec", "learner_entry", "learner_names", "learner_settings", "make_learner", "register"]


@dataclass(frozen=True)
class LearnerSpec:
    """What a learner is built for.

    Attributes:
        way: classes of its tasks (a fixed head has as many outputs).
        train_classes: classes of the meta-training split (for pre-training).
    """

    way: int
    train_classes: int = 0


@dataclass(frozen=True)
class Entry:
    """A registered learner.

    Attributes:
        learner: the class.
        settings: frozen dataclass of its settings, all with defaults.
        build: makes it from a backbone with an attribute ``features``, a `LearnerSpec` and settings.
        summary: one line for listings.
    """

    learner: type[Learner]
    settings: type
    build: Callable[[nn.Module, LearnerSpec, dict[str, Any]], Learner]
    summary: str


@dataclass(frozen=True)
class NoSettings:
    """A learner without settings."""


_LEARNERS: dict[str, Entry] = {}


def register(entry: Entry) -> None:
    """Add a learner under its class's ``name``; other packages may use the entry-point group
    ``metacortex.learners``, whose objects are called once and return an `Entry`.
    """
    _LEARNERS[entry.learner.name] = entry


def _features(backbone: nn.Module) -> int:
    return int(backbone.features)  # type: ignore[arg-type]


register(
    Entry(
        MAML,
        MAMLSettings,
        lambda body, spec, options: MAML(Classifier(body, spec.way), **options),
        "gradient: initial weights from which a few gradient steps suffice",
    )
)
register(
    Entry(
        ProtoNet,
        ProtoNetSettings,
        lambda body, spec, options: ProtoNet(body, **options),
        "metric: a class is the mean of its embedded examples",
    )
)
register(
    Entry(
        FineTuning,
        FineTuningSettings,
        lambda body, spec, options: FineTuning(body, _features(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, fine-tune on the support set",
    )
)
register(
    Entry(
        FromScratch,
        FineTuningSettings,
        lambda body, spec, options: FromScratch(body, _features(body), **options),
        "transfer: train on the support set alone",
    )
)
register(
    Entry(
        NearestNeighbour,
        NoSettings,
        lambda body, spec, options: NearestNeighbour(),
        "no learning: nearest support example by pixels",
    )
)


def learner_names() -> list[str]:
    """Registered names, those of other packages included."""
    others = {point.name for point in entry_points(group="metacortex.learners")}
    return sorted(others | set(_LEARNERS))


def learner_entry(name: str) -> Entry:
    """What is registered under a name.

    Raises:
        SettingsError: for an unknown name, naming the nearest one.
    """
    if name not in _LEARNERS:
        for point in entry_points(group="metacortex.learners", name=name):
            register(point.load()())
    if name not in _LEARNERS:
        raise unknown_name("learner", name, learner_names())
    return _LEARNERS[name]


def learner_settings(name: str) -> type:
    """The frozen dataclass of a learner's settings."""
    return learner_entry(name).settings


def make_learner(
    name: str,
    *,
    input_shape: tuple[int, ...] = (1, 28, 28),
    way: int = 5,
    train_classes: int = 0,
    backbone: str = "conv4",
    backbone_options: dict[str, Any] | None = None,
    **options: Any,
) -> Learner:
    """Build a registered learner on a registered backbone.

    Args:
        name: see `learner_names`.
        input_shape: shape of one input.
        way: classes of its tasks.
        train_classes: classes of the meta-training split, for learners that pre-train.
        backbone: name of the backbone.
        backbone_options: its settings.
        options: the learner's settings.

    Raises:
        SettingsError: for an unknown name or setting, naming the nearest one.

    Example:
        >>> make_learner("protonet", backbone="mlp").body.model.features
        64
    """
    entry = learner_entry(name)
    known = {f.name for f in dataclasses.fields(entry.settings)}
    for key in options:
        if key not in known:
            raise unknown_name(f"setting of {name}", key, known)
    settings = entry.settings(**options)
    body = make_backbone(backbone, input_shape, **(backbone_options or {}))
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return entry.build(body, LearnerSpec(way, train_classes), values)
