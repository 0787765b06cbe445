"""Runs on drawn shapes, and folders of examples, made once for the tests of skills."""

from __future__ import annotations

from pathlib import Path

import pytest
from skill_support import LEARNERS

from drawn_shapes import draw_folder
from metacortex.settings import from_mapping
from metacortex.training.run import train


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", range(25), 8)


@pytest.fixture(scope="session")
def teach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of larger images."""
    return draw_folder(tmp_path_factory.mktemp("data") / "teach", [0, 1, 3], 3, size=80)


@pytest.fixture(scope="session")
def runs(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each learner, with batch norm so that statistics travel too."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in LEARNERS.items():
        settings = from_mapping(
            {
                "learner": {"name": name, **options},
                "backbone": {"name": "mlp", "hidden": [24, 16], "norm": "batch"},
                "data": {"name": str(shapes), "size": 16, "way": 5, "queries": 3, "train_way": 5, "train_queries": 3},
                "training": {"steps": 8, "tasks": 2, "validate_every": 8, "validation_tasks": 2},
            }
        )
        train(settings, folder / name, progress=False, command=["test"])
    return {name: folder / name for name in LEARNERS}
