from __future__ import annotations

import numpy as np
import pytest

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.settings import RunSettings, from_mapping
from metacortex.tasks.episodes import Episodes, EpisodeSpec


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    monkeypatch.setattr("metacortex.training.run.draw_curves", lambda *arguments: None)


@pytest.fixture(scope="session")
def data() -> Dataset:
    """Gaussian clusters in six dimensions."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(24, 1, 6)) + 0.4 * rng.normal(size=(24, 10, 6))
    store = ClassStore.from_arrays(rows.reshape(-1, 6).astype(np.float32), np.repeat(np.arange(24), 10), name="dots")
    cuts = {"train": range(8), "val": range(8, 16), "test": range(16, 24)}
    return Dataset("dots", "thirds", store, {k: ClassView.of(store, list(v)) for k, v in cuts.items()})


@pytest.fixture(scope="session")
def episodes(data: Dataset) -> Episodes:
    return Episodes(data.splits["test"], EpisodeSpec(3, 2, 4), seed=0, split="test")


@pytest.fixture(scope="session")
def settings() -> RunSettings:
    return from_mapping(
        {
            "learner": {"name": "protonet"},
            "backbone": {"name": "mlp", "hidden": [8], "norm": "batch"},
            "data": {"way": 3, "shot": 1, "queries": 3, "train_way": 3},
            "training": {"steps": 3, "tasks": 1, "validate_every": 3, "validation_tasks": 2},
        }
    )
