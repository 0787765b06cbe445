"""The one-shot runs of Omniglot: which drawing belongs to which, and learners that meet them."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metacortex.data.omniglot_challenge import load_omniglot_challenge
from metacortex.data.registry import load_dataset
from metacortex.errors import DataError
from metacortex.evaluation.run import evaluate_run
from metacortex.settings import RunSettings, merge
from metacortex.tasks.grouped import GroupTasks
from metacortex.training.run import train

REAL = pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not name the shared data")


def drawing(column: int) -> bytes:
    file = io.BytesIO()
    paper = np.full((105, 105), 255, np.uint8)
    paper[10:90, 5 * column : 5 * column + 4] = 0
    Image.fromarray(paper).convert("1").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs in which item ``k`` shows the character of class ``20 - k``, a bar at its own place."""
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METACORTEX_DATA", str(tmp_path))
    (tmp_path / "omniglot").mkdir()
    path = tmp_path / "omniglot" / "all_runs.zip"
    with zipfile.ZipFile(path, "w") as runs:
        for run in range(1, 21):
            folder = f"run{run:02d}"
            lines = [f"{folder}/test/item{k:02d}.png {folder}/training/class{21 - k:02d}.png" for k in range(1, 21)]
            runs.writestr(f"{folder}/class_labels.txt", "\n".join(lines) + "\n")
            for k in range(1, 21):
                runs.writestr(f"{folder}/training/class{k:02d}.png", drawing(k))
                runs.writestr(f"{folder}/test/item{k:02d}.png", drawing(21 - k))
    return path


def test_items_go_with_their_classes(archive: Path) -> None:
    data = load_omniglot_challenge(size=28)
    assert data.given
    tasks = GroupTasks(data.split("test"))
    assert (tasks.count, str(tasks.spec)) == (20, "20-way 1-shot 1 queries")
    task = tasks.task(4)
    assert task.support.inputs.equal(task.query.inputs)
    assert task.support.inputs[0].argmax() < task.support.inputs[9].argmax()
    assert task.info["classes"][0] == "run05/class01"


def test_a_learner_meets_the_runs_whatever_it_was_trained_for(archive: Path, tmp_path: Path) -> None:
    settings = merge(RunSettings(), {"learner.name": "nearest_neighbour", "data.name": "digits", "data.size": 28})
    run = train(settings, tmp_path / "run", progress=False)
    result = evaluate_run(run.path, "omniglot_challenge")
    assert result.mean == 1.0
    assert len(result.scores) == 20
    assert {key: result.details[key] for key in ("way", "shot", "queries")} == {"way": 20, "shot": 1, "queries": 1}
    assert "20-way 1-shot 1 queries" in result.protocol
    views = evaluate_run(run.path, "omniglot_challenge", views=3)
    assert views.details["views"] == 3
    assert views.protocol.endswith("; 3 views")
    assert (views.learner, views.fingerprint) == (result.learner, result.fingerprint)
    assert views.path != result.path
    assert views.loss != result.loss


def test_damage_is_noticed(archive: Path) -> None:
    with zipfile.ZipFile(archive) as runs:
        content = {name: runs.read(name) for name in runs.namelist()}
    for broken, message in (
        ({k: v for k, v in content.items() if "run03/test/item07" not in k}, "item07.png is missing"),
        (
            {**content, "run02/class_labels.txt": b"run02/test/item01.png run02/training/class01.png\n"},
            "20 pairs in run02",
        ),
    ):
        with zipfile.ZipFile(archive, "w") as runs:
            for name, data in broken.items():
                runs.writestr(name, data)
        with pytest.raises(DataError, match=message):
            load_omniglot_challenge()
    archive.unlink()
    with pytest.raises(DataError, match="data fetch omniglot"):
        load_omniglot_challenge()


@REAL
def test_the_published_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path))
    tasks = GroupTasks(load_dataset("omniglot_challenge", size=28).split("test"))
    errors = []
    for number in range(tasks.count):
        task = tasks.task(number)
        shown, asked = (part.inputs.flatten(1) for part in (task.support, task.query))
        cosine = (asked @ shown.T) / shown.norm(dim=1) / asked.norm(dim=1)[:, None]
        errors.append(float((cosine.argmax(1) != task.query.targets).float().mean()))
    # 28x28 pixels by cosine miss three quarters of the characters; a permutation of labels would miss 95 %.
    assert 100 * np.mean(errors) == pytest.approx(76, abs=2)
