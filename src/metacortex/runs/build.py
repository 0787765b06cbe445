"""From settings to a learner, and back from what a run wrote down of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from metacortex.fields import build, to_toml_value
from metacortex.learners.objective import CrossEntropy, MeanSquaredError
from metacortex.learners.registry import learner_entry, learner_settings, make_learner
from metacortex.nn.registry import backbone_settings
from metacortex.settings import DataSettings, RunSettings

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.runs.domain import Domain

__all__ = ["build_learner", "describe_learner", "meta_batch_size", "with_size"]

_OBJECTIVES = {"classification": CrossEntropy, "regression": MeanSquaredError}
"""What predictions are judged by, by kind of tasks; learners of translation have their own."""


def with_size(settings: RunSettings) -> RunSettings:
    """The settings of a run that begins: where they leave the size of images open, it is the source's own.

    So the size is written down with the run, and other data that it is evaluated on are brought to it.

    Raises:
        SettingsError: for an unknown data source.
        DataError: for a path that is no folder.
    """
    from metacortex.data.sources import default_size

    data = settings.data
    if not isinstance(data, DataSettings) or data.size:
        return settings
    return replace(settings, data=replace(data, size=default_size(data.name)))


def describe_learner(settings: RunSettings, domain: Domain) -> dict[str, Any]:
    """What `build_learner` needs to build the learner again, as JSON holds it."""
    cls = learner_entry(settings.learner.name).learner
    options = learner_settings(settings.learner.name)(**settings.learner.options)
    shape = domain.learner_shape(settings, cls)
    body = backbone_settings(settings.backbone.name)(
        **{**settings.backbone.options, **shape.pop("backbone_options", {})}
    )
    return {
        "name": settings.learner.name,
        # All options, not only those that were set: a default that changes later must not change this run.
        "options": {f.name: to_toml_value(getattr(options, f.name)) for f in fields(options)},
        "backbone": settings.backbone.name,
        "backbone_options": {f.name: to_toml_value(getattr(body, f.name)) for f in fields(body)},
        **shape,
    }


def build_learner(description: Mapping[str, Any], *, seed: int = 0, **changes: Any) -> Learner:
    """Build the learner that `describe_learner` described, its initial weights a function of the seed.

    Args:
        description: name, options, backbone, kind of tasks, input shape, way, number of training classes.
        seed: of the initial weights.
        changes: learner options that replace those of the description, e.g. ``norm="running"``.

    Raises:
        SettingsError: for an unknown name, option or value.
    """
    name, kind = description["name"], description["backbone"]
    kind_of_tasks = description.get("kind", "classification")
    options = build(learner_settings(name), {**description["options"], **changes}, "learner")
    body = build(backbone_settings(kind), description["backbone_options"], "backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_learner(
            name,
            input_shape=tuple(description["input_shape"]),
            way=description["way"],
            train_classes=description["train_classes"],
            kind=kind_of_tasks,
            objective=_OBJECTIVES.get(kind_of_tasks, CrossEntropy)(),
            backbone=kind,
            backbone_options={f.name: getattr(body, f.name) for f in fields(body)},
            **{f.name: getattr(options, f.name) for f in fields(options)},
        )


def meta_batch_size(settings: RunSettings, learner: Any) -> int:
    """Tasks per meta-batch: as set, else the learner's default, else 4; one for plain batches."""
    if learner.trains_on == "batches":
        return 1
    return settings.training.tasks or getattr(learner, "train_tasks", None) or 4
