"""Learners by name: what the command line, the trainer and the law tests go through."""

from __future__ import annotations

import dataclasses
from importlib.metadata import entry_points
from typing import Any

from metacortex.errors import SettingsError, unknown_name
from metacortex.learners.base import Learner
from metacortex.learners.entry import Entry, Kind, LearnerSpec
from metacortex.learners.gradient import entries as gradient
from metacortex.learners.metric import entries as metric
from metacortex.learners.model import entries as model
from metacortex.learners.objective import CrossEntropy, MeanSquaredError, Objective
from metacortex.learners.transfer import entries as transfer
from metacortex.nn.registry import make_backbone

__all__ = [
    "Entry",
    "LearnerSpec",
    "canonical_name",
    "learner_entry",
    "learner_names",
    "learner_settings",
    "make_learner",
    "register",
]

_FAMILIES = (gradient.ENTRIES, metric.ENTRIES, model.ENTRIES, transfer.ENTRIES)
_LEARNERS: dict[str, Entry] = {entry.learner.name: entry for family in _FAMILIES for entry in family}


def register(entry: Entry) -> None:
    """Add a learner under its class's ``name``; other packages may use the entry-point group
    ``metacortex.learners``, whose objects are called once and return an `Entry`.
    """
    _LEARNERS[entry.learner.name] = entry


def learner_names() -> list[str]:
    """Registered names, those of other packages included."""
    others = {point.name for point in entry_points(group="metacortex.learners")}
    return sorted(others | set(_LEARNERS))


def canonical_name(name: str) -> str:
    """The registered spelling of a name written with other capitals and separators; else the name itself.

    Example:
        >>> canonical_name("MetaLSTM"), canonical_name("from-scratch"), canonical_name("unknown")
        ('meta_lstm', 'from_scratch', 'unknown')
    """

    def bare(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    return next((known for known in learner_names() if bare(known) == bare(name)), name)


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
    kind: Kind = "classification",
    objective: Objective | None = None,
    backbone: str | None = None,
    backbone_options: dict[str, Any] | None = None,
    **options: Any,
) -> Learner:
    """Build a registered learner on a registered backbone.

    Args:
        name: see `learner_names`.
        input_shape: shape of one input.
        way: classes of its tasks; for regression the number of outputs.
        train_classes: classes of the meta-training split, for learners that pre-train.
        kind: what its tasks ask for.
        objective: what its predictions are judged by; when not given, squared error for regression and
            cross-entropy for the rest (translation learners have their own, by the token).
        backbone: name of the backbone; when not given, ``seq2seq`` for translation and ``conv4`` for the rest.
        backbone_options: its settings.
        options: the learner's settings.

    Raises:
        SettingsError: for an unknown name or setting, naming the nearest one, or a learner that
            cannot serve this kind of tasks.

    Example:
        >>> make_learner("protonet", backbone="mlp").body.model.features
        64
    """
    entry = learner_entry(name)
    if kind not in entry.kinds:
        able = [n for n in learner_names() if kind in learner_entry(n).kinds]
        raise SettingsError(f"learner '{name}' does not do {kind}: use one of {', '.join(able)}")
    known = {f.name for f in dataclasses.fields(entry.settings)}
    for key in options:
        if key not in known:
            raise unknown_name(f"setting of {name}", key, known)
    settings = entry.settings(**options)
    usual = "seq2seq" if kind == "translation" else "conv4"
    body = make_backbone(backbone or usual, input_shape, **(backbone_options or {}))
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    judge = objective or (MeanSquaredError() if kind == "regression" else CrossEntropy())
    return entry.build(body, LearnerSpec(way, train_classes, kind, judge), values)
