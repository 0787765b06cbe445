"""A run that has seen a few lines of counting in three languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from counting_files import write_counting
from metacortex.settings import from_mapping
from metacortex.training.run import train

pytest.importorskip("sentencepiece", reason="needs the extra 'translate'")


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_counting(tmp_path_factory.mktemp("counting"), ("en", "de", "fr"))


@pytest.fixture(scope="session")
def run(counting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "counting"
    settings = from_mapping(
        {
            "learner": {"name": "meta_lstm", "code": 8, "rank": 2, "layers": "all"},
            "backbone": {"name": "seq2seq", "embedding": 16, "hidden": 16},
            "data": {"name": str(counting), "vocabulary": 300, "queries": 8, "description": "both", "shot": 3},
            "training": {"steps": 6, "tasks": 2, "validate_every": 6, "validation_tasks": 2},
        }
    )
    train(settings, out, progress=False)
    return out
