"""Reports are one file, hold what was measured, and let no name become markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import RunError
from metacortex.evaluation.run import evaluate_run
from metacortex.reports.page import Page, Picture, Section, Table, write_page
from metacortex.reports.pictures import draw_reliability, draw_tasks
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
    for picture in (draw_tasks(learner, tasks, (0, 1)), draw_reliability(rows)):
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 2000


def test_pages_escape_everything(tmp_path: Path) -> None:
    section = Section(EVIL, EVIL, [Table([EVIL], [[EVIL]], EVIL)], [Picture(b"x", f'"{EVIL}')], EVIL, EVIL)
    page = read(write_page(Page(EVIL, EVIL, [section]), tmp_path / "page.html"))
    assert page.text.count(EVIL) == 11


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        write_run_report(tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        write_page(Page("", "", []), tmp_path / "absent" / "page.html")
