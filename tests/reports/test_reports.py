"""Reports are one file, hold what was measured, and let no name become markup."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.engine.gradient import evaluate_tasks
from metacortex.errors import RunError
from metacortex.evaluation.run import evaluate_run
from metacortex.reports.page import Gallery, Matrix, Page, Picture, Section, Table, Tile, write_page
from metacortex.reports.pictures import _chosen, draw_reliability, show_tasks
from metacortex.reports.run_report import run_page, write_run_report
from metacortex.settings import from_mapping
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.training.run import train

EVIL = "<script>alert('b')</script>"


class Reader(HTMLParser):
    """Tags, their addresses, and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    return reader


@pytest.fixture(scope="module")
def images() -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (24, 1, 1, 8, 8)) + rng.integers(-9, 9, (24, 10, 1, 8, 8))
    names = [f"{EVIL}{i}" for i in range(24)]
    labels = np.repeat(np.arange(24), 10)
    store = ClassStore.from_arrays(
        pixels.reshape(-1, 1, 8, 8).clip(0, 255).astype(np.uint8), labels, names, name="evil"
    )
    cuts = {"train": range(8), "val": range(8, 16), "test": range(16, 24)}
    return Dataset("evil", "thirds", store, {k: ClassView.of(store, list(v)) for k, v in cuts.items()})


def test_a_run_of_images(images: Dataset, tmp_path: Path) -> None:
    settings = from_mapping(
        {
            "learner": {"name": "protonet"},
            "backbone": {"name": "mlp", "hidden": [8]},
            "data": {"way": 3, "queries": 3, "train_way": 3},
            "training": {"steps": 2, "validation_tasks": 2},
        }
    )
    train(settings, tmp_path / "run", data=images, progress=False)
    empty = read(write_run_report(tmp_path / "run"))
    assert "Nothing was measured yet" in empty.text
    result = evaluate_run(tmp_path / "run", images, tasks=20)
    page = read(write_run_report(tmp_path / "run"))
    assert result.figure in page.text
    assert "protonet" in page.text
    assert page.tags.count("img") == 2  # curves, reliability
    assert EVIL in page.text, "class names are shown as text"
    assert f"{100 * result.diagnosis['ece']:.1f} %" in page.text
    assert "Rows: the class that was shown" in page.text
    cells = sum(sum(row) for row in result.diagnosis["matrix"]["rows"])
    assert cells == 20 * 3 * 3, "every query is in the matrix"


def test_a_run_of_functions_is_drawn(tmp_path: Path) -> None:
    settings = from_mapping(
        {
            "learner": {"name": "maml"},
            "data": {"name": "sinusoid", "shot": 5},
            "training": {"steps": 2, "tasks": 2, "validation_tasks": 2},
        }
    )
    train(settings, tmp_path / "run", progress=False)
    titles = [section.title for section in run_page(tmp_path / "run").sections]
    assert titles == ["Results", "Training", "Test tasks", "Protocol", "Settings"]


def test_pictures_of_tasks_and_of_reliability(images: Dataset) -> None:
    from metacortex.learners.registry import make_learner

    learner = make_learner("protonet", input_shape=(1, 8, 8), backbone="mlp").eval()
    tasks = Episodes(images.split("test"), EpisodeSpec(3, 2, 4), seed=0, split="test")
    rows = [{"from": 0.2, "to": 0.4, "count": 3, "confidence": 0.3, "accuracy": 0.5}]
    picture = draw_reliability(rows)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 2000
    assert not Picture(picture, "").broad
    galleries = show_tasks(learner, tasks, (0, 1), queries=6)
    assert len(galleries) == 4
    outcome = evaluate_tasks(learner, tasks.batch([1]))
    hits = (outcome.prediction[0].argmax(-1) == tasks.task(1).query.targets).tolist()
    assert galleries[3].caption == f"{sum(hits)} of 12 queries right, for instance"
    assert [tile.caption for tile in galleries[2].tiles] == tasks.batch([1]).info[0]["classes"]
    verdicts = [tile.verdict for tile in galleries[3].tiles]
    assert len(verdicts) == 6
    assert verdicts.count("wrong") == min(12 - sum(hits), max(3, 6 - sum(hits)))
    with Image.open(io.BytesIO(galleries[2].tiles[0].png)) as ink:
        support = tasks.task(1).support
        slot = support.inputs[support.targets == 0][0, 0]
        assert np.allclose(np.asarray(ink), 255 * (1 - slot.numpy()), atol=1)


def test_answers_shown_are_spread() -> None:
    right = [i % 4 != 0 for i in range(40)]  # ten mistakes
    chosen = _chosen(right, 8)
    assert [right[i] for i in chosen] == [False] * 4 + [True] * 4
    assert max(chosen[:4]) - min(chosen[:4]) >= 20
    assert max(chosen[4:]) - min(chosen[4:]) >= 20
    assert _chosen([False] * 5, 8) == [0, 1, 2, 3, 4]
    assert _chosen([True] * 3, 2) == [0, 2]


def test_pages_escape_everything(tmp_path: Path) -> None:
    section = Section(
        EVIL,
        EVIL,
        [Table([EVIL], [[EVIL]], EVIL), Table([f'"{EVIL}'] * 4, [])],
        [Picture(b"x", f'"{EVIL}')],
        EVIL,
        EVIL,
        [Matrix([EVIL], [[1]], EVIL)],
        [Gallery(EVIL, [Tile(b"x", EVIL)])],
    )
    page = read(write_page(Page(EVIL, EVIL, [section]), tmp_path / "page.html"))
    assert page.text.count(EVIL) == 11 + 4 + 3 + 2


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        write_run_report(tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        write_page(Page("", "", []), tmp_path / "absent" / "page.html")
