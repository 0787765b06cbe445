"""Regression tasks drawn from a family of functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metacortex.learners.entry import Kind
from metacortex.settings import FunctionSettings, RunSettings
from metacortex.tasks.functions import make_functions

if TYPE_CHECKING:
    from metacortex.tasks.source import TaskSource

__all__ = ["FunctionDomain"]


class FunctionDomain:
    """The `metacortex.runs.domain.Domain` of a function family.

    Args:
        settings: names the family.
    """

    kind: Kind = "regression"
    input_shape: tuple[int, ...] = (1,)

    def __init__(self, settings: FunctionSettings) -> None:
        self.name = settings.name
        self.protocol = f"functions drawn from the family {self.name}"
        few = make_functions(self.name, shot=5, queries=5, seed=0, split="test").fingerprint(16)
        self.fingerprint = hashlib.sha256(f"{self.name} {few}".encode()).hexdigest()

    @property
    def splits(self) -> Mapping[str, int]:
        """The splits; each has functions without end."""
        return {"train": 0, "val": 0, "test": 0}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the functions come from."""
        return {"source": "drawn at random"}

    def keep(self, run: Path) -> None:
        """Nothing: the settings name all of it."""

    def learner_shape(self, settings: RunSettings, learner: Any) -> dict[str, Any]:
        """One number in, one number out."""
        return {"kind": self.kind, "input_shape": list(self.input_shape), "way": 1, "train_classes": 0}

    def training_tasks(self, settings: RunSettings, learner: Any) -> TaskSource:
        """Functions with the sizes set for training, else those of evaluation."""
        data: Any = settings.data
        shot, queries = data.train_shot or data.shot, data.train_queries or data.queries
        return make_functions(self.name, shot=shot, queries=queries, seed=settings.training.seed, split="train")

    def tasks(self, split: str, data: FunctionSettings) -> TaskSource:
        """Fixed functions of a split."""
        return make_functions(self.name, shot=data.shot, queries=data.queries, seed=data.seed, split=split)

    def details(self, split: str, data: FunctionSettings) -> dict[str, Any]:
        """Family, split and sizes."""
        return {
            "data": self.name,
            "data_protocol": self.protocol,
            "split": split,
            "shot": data.shot,
            "queries": data.queries,
            "seed": data.seed,
        }
