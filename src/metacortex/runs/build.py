"""From settings to the parts of a run: data, tasks, learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from metacortex.data.dataset import Dataset
from metacortex.fields import build, to_toml_value
from metacortex.learners.registry import learner_entry, learner_settings, make_learner
from metacortex.nn.registry import backbone_settings
from metacortex.settings import DataSettings, RunSettings
from metacortex.tasks.episodes import Episodes, EpisodeSpec

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.tasks.source import TaskSource

__all__ = [
    "build_dataset",
    "build_learner",
    "describe_learner",
    "episodes_of",
    "meta_batch_size",
    "training_spec",
    "training_tasks",
]


def build_dataset(settings: DataSettings) -> Dataset:
    """Load the data source that the settings name, with its options."""
    from metacortex.data.registry import load_dataset

    options: dict[str, Any] = {"size": settings.size}
    if settings.protocol:
        options["protocol"] = settings.protocol
    if settings.rotations:
        options["rotations"] = settings.rotations
    return load_dataset(settings.name, **options)


def describe_learner(settings: RunSettings, dataset: Dataset) -> dict[str, Any]:
    """What `build_learner` needs to build the learner again, as JSON holds it."""
    cls = learner_entry(settings.learner.name).learner
    way = settings.data.way
    if cls.trains_on == "episodes":
        way = max(way, training_spec(settings.data, cls, dataset).range_of("way")[1])
    options = learner_settings(settings.learner.name)(**settings.learner.options)
    body = backbone_settings(settings.backbone.name)(**settings.backbone.options)
    return {
        "name": settings.learner.name,
        # All options, not only those that were set: a default that changes later must not change this run.
        "options": {f.name: to_toml_value(getattr(options, f.name)) for f in fields(options)},
        "backbone": settings.backbone.name,
        "backbone_options": {f.name: to_toml_value(getattr(body, f.name)) for f in fields(body)},
        "input_shape": list(dataset.store.shape),
        "way": way,
        "train_classes": len(dataset.split("train")) if cls.trains_on == "batches" else 0,
    }


def build_learner(description: Mapping[str, Any], *, seed: int = 0, **changes: Any) -> Learner:
    """Build the learner that `describe_learner` described, its initial weights a function of the seed.

    Args:
        description: name, options, backbone, input shape, way, number of training classes.
        seed: of the initial weights.
        changes: learner options that replace those of the description, e.g. ``norm="running"``.

    Raises:
        SettingsError: for an unknown name, option or value.
    """
    name, kind = description["name"], description["backbone"]
    options = build(learner_settings(name), {**description["options"], **changes}, "learner")
    body = build(backbone_settings(kind), description["backbone_options"], "backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_learner(
            name,
            input_shape=tuple(description["input_shape"]),
            way=description["way"],
            train_classes=description["train_classes"],
            backbone=kind,
            backbone_options={f.name: getattr(body, f.name) for f in fields(body)},
            **{f.name: getattr(options, f.name) for f in fields(options)},
        )


def training_spec(data: DataSettings, learner: Any, dataset: Dataset) -> EpisodeSpec:
    """Size of the training tasks: as set, else the learner's default, else that of evaluation.

    A learner's default way is capped by the number of training classes and never below the way of
    evaluation; a way that was set is taken as it is.
    """
    way, shot, queries = (
        getattr(data, f"train_{name}") or getattr(learner, f"train_{name}", None) or getattr(data, name)
        for name in ("way", "shot", "queries")
    )
    if not data.train_way:
        way = max(min(way, _largest_way(dataset)), data.way)
    return EpisodeSpec(way=way, shot=shot, queries=queries)


def _largest_way(dataset: Dataset) -> int:
    view = dataset.split("train")
    if not dataset.within_group or view.group is None:
        return len(view)
    return int(torch.as_tensor(view.group).unique(return_counts=True)[1].max())


def meta_batch_size(settings: RunSettings, learner: Any) -> int:
    """Tasks per meta-batch: as set, else the learner's default, else 4; one for plain batches."""
    if learner.trains_on == "batches":
        return 1
    return settings.training.tasks or getattr(learner, "train_tasks", None) or 4


def training_tasks(settings: RunSettings, learner: Any, dataset: Dataset) -> TaskSource:
    """The tasks that the learner learns from, drawn with ``training.seed``."""
    view, seed = dataset.split("train"), settings.training.seed
    if learner.trains_on == "batches":
        from metacortex.tasks.batches import SupervisedBatches

        return SupervisedBatches(view, settings.training.batch_size, seed=seed, split="train")
    spec = training_spec(settings.data, learner, dataset)
    return episodes_of(dataset, "train", spec, seed, settings.data.min_examples)


def episodes_of(dataset: Dataset, split: str, spec: EpisodeSpec, seed: int, min_examples: int = 0) -> Episodes:
    """Fixed tasks of a split.

    Args:
        dataset: where the examples come from.
        split: name of the split.
        spec: sizes of the tasks.
        seed: of the tasks.
        min_examples: leave out classes with fewer examples than this; 0 for none.

    Raises:
        DataError: if the source has no such split.
    """
    return Episodes(
        dataset.split(split),
        spec,
        seed=seed,
        split=split,
        within_group=dataset.within_group,
        min_examples=min_examples or None,
    )
