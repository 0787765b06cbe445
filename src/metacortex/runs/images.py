"""Classification tasks drawn from a data set of images (or other examples by class)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metacortex.data.dataset import Dataset
from metacortex.learners.entry import Kind
from metacortex.settings import DataSettings, RunSettings
from metacortex.tasks.batches import SupervisedBatches
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.grouped import GroupTasks
from metacortex.tasks.redrawn import Redrawn
from metacortex.tasks.warp import Warped

if TYPE_CHECKING:
    from metacortex.tasks.source import TaskSource

__all__ = ["ImageDomain", "build_dataset", "training_spec"]


def build_dataset(settings: DataSettings) -> Dataset:
    """Load the data source that the settings name, with its options."""
    from metacortex.data.registry import load_dataset

    options: dict[str, Any] = {"size": settings.size} if settings.size else {}
    if settings.protocol:
        options["protocol"] = settings.protocol
    if settings.rotations:
        options["rotations"] = settings.rotations
    return load_dataset(settings.name, **options)


class ImageDomain:
    """The `metacortex.runs.domain.Domain` of a `Dataset`.

    Args:
        dataset: the examples and their splits.
    """

    kind: Kind = "classification"

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name, self.protocol = dataset.name, dataset.protocol
        self.fingerprint = dataset.store.fingerprint
        self.input_shape = tuple(dataset.store.shape)

    @property
    def splits(self) -> Mapping[str, int]:
        """Split -> number of classes."""
        return {name: len(view) for name, view in self.dataset.splits.items()}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the examples come from."""
        return dict(self.dataset.provenance)

    def keep(self, run: Path) -> None:
        """Nothing: the settings name all of it."""

    def learner_shape(self, settings: RunSettings, learner: Any) -> dict[str, Any]:
        """Shape of one example and the largest number of classes that the learner meets."""
        data = _checked(settings.data)
        way = data.way
        if learner.trains_on == "episodes":
            way = max(way, training_spec(data, learner, self.dataset).range_of("way")[1])
        return {
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "way": way,
            "train_classes": len(self.dataset.split("train")) if learner.trains_on == "batches" else 0,
        }

    def training_tasks(self, settings: RunSettings, learner: Any) -> TaskSource:
        """Episodes, or plain batches for learners of the transfer family."""
        data, seed = _checked(settings.data), settings.training.seed
        if learner.trains_on == "batches":
            view = self.dataset.split("train")
            tasks: Any = SupervisedBatches(view, settings.training.batch_size, seed=seed, split="train")
        else:
            spec = training_spec(data, learner, self.dataset)
            tasks = self._episodes("train", spec, seed, data.min_examples)
        tasks = Warped(tasks, data.warp) if data.warp else tasks
        return Redrawn(tasks, data.redraw) if data.redraw else tasks

    def tasks(self, split: str, data: DataSettings) -> TaskSource:
        """Fixed episodes of a split, or the tasks that the source gives, whatever the sizes asked for."""
        if self.dataset.given:
            return GroupTasks(self.dataset.split(split))
        return self._episodes(split, EpisodeSpec(data.way, data.shot, data.queries), data.seed, data.min_examples)

    def details(self, split: str, data: DataSettings) -> dict[str, Any]:
        """Source, split and sizes."""
        if self.dataset.given:
            spec = GroupTasks(self.dataset.split(split)).spec
            data = replace(data, way=spec.way, shot=spec.shot, queries=spec.queries, seed=0)
        return {
            "data": self.name,
            "data_protocol": self.protocol,
            "split": split,
            "way": data.way,
            "shot": data.shot,
            "queries": data.queries,
            "seed": data.seed,
        }

    def _episodes(self, split: str, spec: EpisodeSpec, seed: int, min_examples: int) -> Episodes:
        return Episodes(
            self.dataset.split(split),
            spec,
            seed=seed,
            split=split,
            within_group=self.dataset.within_group,
            min_examples=min_examples or None,
            apart=self.dataset.apart,
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


def _checked(data: Any) -> DataSettings:
    """Settings of images; a run over a data set of one's own has no other."""
    assert isinstance(data, DataSettings)
    return data
