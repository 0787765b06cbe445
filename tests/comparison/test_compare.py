"""A comparison: the same tasks for all, continued after an interruption, tables that say what was measured."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from metacortex.comparison.measure import adaptation_memory, state_bytes
from metacortex.comparison.plan import Cell, ComparisonPlan
from metacortex.comparison.plots import draw_comparison
from metacortex.comparison.run import Comparison, load_comparison, run_comparison
from metacortex.comparison.table import score_tables, to_markdown, write_tables
from metacortex.errors import DataError, RunError, SettingsError
from metacortex.evaluation.results import compare
from metacortex.learners.registry import make_learner
from metacortex.reports.comparison_report import comparison_page
from metacortex.tasks.functions import make_functions

OPTIONS = {"backbone.name": "mlp", "backbone.hidden": "8", "data.size": 8, "training.validation_tasks": 2}
OWN = {"protonet": {"data.train_way": 5}, "maml": {"training.tasks": 2}}


def plan(*learners: str, **changes: object) -> ComparisonPlan:
    kept = {"data": "digits_like", "queries": 3, "shots": (1, 2), "tasks": 6, "seed": 1}
    budget = {"steps": 2, "minutes": 0.0, "options": OPTIONS, "own": {k: v for k, v in OWN.items() if k in learners}}
    return ComparisonPlan(learners, **{**kept, **budget, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """25 classes, each a level of grey and a little noise."""
    path = tmp_path_factory.mktemp("data") / "greys"
    noise = torch.Generator().manual_seed(0)
    for level in range(25):
        (path / f"{level:02}").mkdir(parents=True)
        for number in range(6):
            pixels = 10 * level + torch.randint(0, 6, (8, 8), generator=noise)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(path / f"{level:02}" / f"{number}.png")
    return str(path)


@pytest.fixture(scope="module")
def done(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    found = plan("protonet", "fine_tuning", "nearest_neighbour", data=folder)
    return run_comparison(found, tmp_path_factory.mktemp("out") / "compared")


def test_all_meet_the_same_tasks(done: Comparison) -> None:
    for cell in done.plan.cells:
        assert len({e.results[cell].fingerprint for e in done.entrants}) == 1
        assert {len(e.results[cell].accuracy) for e in done.entrants} == {6}
    assert done.plan.yardstick == "fine_tuning"
    cell = done.plan.cells[1]
    first, second = (done.entrant(name).results[cell] for name in ("protonet", "fine_tuning"))
    assert done.advantage("protonet", cell) == compare(first, second)
    none = done.advantage("fine_tuning", cell)
    assert none is not None
    assert (none.mean, none.half) == (0, 0)


def test_it_is_read_back(done: Comparison) -> None:
    assert load_comparison(done.path).to_json() == done.to_json()


def test_what_is_done_is_not_done_again(done: Comparison) -> None:
    told: list[str] = []
    again = run_comparison(done.plan, done.path, lambda who, share, what: told.append(who))
    assert told == []
    assert again.to_json() == done.to_json()


def test_more_learners_are_added_and_another_comparison_is_refused(
    done: Comparison, folder: str, tmp_path: Path
) -> None:
    told: list[str] = []
    here = shutil.copytree(done.path, tmp_path / "copy")
    own = {"from_scratch": {"learner.tune_steps": 3}}
    found = run_comparison(plan("from_scratch", data=folder, own=own), here, lambda who, *_: told.append(who))
    assert set(told) == {"from_scratch"}
    assert found.plan.learners == (*done.plan.learners, "from_scratch")  # those measured before stay
    assert found.plan.yardstick == done.plan.yardstick
    assert load_comparison(here).to_json() == found.to_json()
    with pytest.raises(RunError, match=r"different: .*tasks"):
        run_comparison(plan("protonet", data=folder, tasks=7), here)
    with pytest.raises(RunError, match="different: settings of protonet"):
        run_comparison(plan("protonet", data=folder, own={"protonet": {"data.train_way": 6}}), here)


def test_a_comparison_can_be_moved_and_its_runs_used_on(
    done: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shutil.copytree(done.path, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = load_comparison("moved")
    shutil.rmtree(here / "runs")
    gone = load_comparison("moved")
    for entrant in done.entrants:
        for cell, result in entrant.results.items():
            path = found.entrant(entrant.learner).results[cell].path
            assert path is not None
            assert path.is_relative_to("moved")
            kept = gone.entrant(entrant.learner).results[cell]
            assert (kept.path, kept.scores, kept.protocol) == (None, result.scores, result.protocol)


def test_a_learner_that_diverges_is_listed_and_tried_again(folder: str, tmp_path: Path) -> None:
    wild = plan("maml", "nearest_neighbour", data=folder, own={"maml": {"learner.inner_lr": 1e30, "training.tasks": 2}})
    found = run_comparison(wild, tmp_path)
    assert set(found.entrant("maml").refused) == set(wild.cells)
    assert "lower training.lr" in to_markdown(found)
    assert len(found.entrant("nearest_neighbour").results) == 2
    assert draw_comparison(found)
    assert "Not served" in [section.title for section in comparison_page(found).sections]
    assert load_comparison(tmp_path).to_json() == found.to_json()
    tame = plan("maml", "nearest_neighbour", data=folder)
    again = run_comparison(tame, tmp_path)
    assert len(again.entrant("maml").results) == 2


def test_what_a_learner_cannot_do_is_said_before_another_trains(tmp_path: Path) -> None:
    told: list[str] = []
    asked = plan("maml", "protonet", data="sinusoid", options={"backbone.name": "mlp"}, own={})
    with pytest.raises(SettingsError, match="regression"):
        run_comparison(asked, tmp_path / "c", lambda who, *_: told.append(who))
    assert not told
    assert not (tmp_path / "c").exists()


def test_options_of_several_numbers_are_the_same_again(folder: str, tmp_path: Path) -> None:
    asked = plan("nearest_neighbour", data=folder, options={**OPTIONS, "backbone.hidden": (8, 8)})
    first = run_comparison(asked, tmp_path)
    assert run_comparison(asked, tmp_path).entrants == first.entrants


def test_an_interrupted_comparison_continues(folder: str, tmp_path: Path) -> None:
    asked = plan("nearest_neighbour", "protonet", data=folder)

    def stop(who: str, share: float, what: str) -> None:
        if who == "protonet" and what.startswith("training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_comparison(asked, tmp_path / "c", stop)
    with pytest.raises(RunError, match="finish the comparison"):
        load_comparison(tmp_path / "c")
    told: list[str] = []
    found = run_comparison(asked, tmp_path / "c", lambda who, share, what: told.append(who))
    assert set(told) == {"protonet"}
    whole = run_comparison(asked, tmp_path / "d")
    for cell in asked.cells:
        assert found.entrant("protonet").results[cell].accuracy == whole.entrant("protonet").results[cell].accuracy


def test_a_folder_of_something_else_is_left_alone(folder: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(RunError, match="not empty"):
        run_comparison(plan("protonet", data=folder), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_tasks_that_cannot_be_drawn_are_refused_before_training(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with pytest.raises(DataError, match="6 examples"):
        run_comparison(plan("protonet", data=folder, shots=(1, 4)), tmp_path / "c", lambda *said: told.append(said[0]))
    shapes = iter([(1, 8, 8), (3, 8, 8)])

    def opened(settings: object) -> SimpleNamespace:
        return SimpleNamespace(input_shape=next(shapes), tasks=lambda split, data: None)

    monkeypatch.setattr("metacortex.comparison.run.open_domain", opened)
    monkeypatch.setattr("metacortex.comparison.run._check_learners", lambda plan, domains: None)
    with pytest.raises(DataError, match=r"digits.*same size and channels"):
        run_comparison(plan("protonet", transfer=("digits",)), tmp_path / "c", lambda *said: told.append(said[0]))
    assert told == []
    assert not (tmp_path / "c").exists()


def test_every_source_has_its_own_table(folder: str, tmp_path: Path) -> None:
    found = run_comparison(
        plan("nearest_neighbour", "from_scratch", data=folder, transfer=("folder:" + folder,)), tmp_path
    )
    own, other = score_tables(found)
    assert own.header == ["learner", "1-shot", "2-shot", "ECE", "adapt", "memory", "training"]
    assert other.header == ["learner", "1-shot", "2-shot"]
    assert [row[0] for row in own.rows] == [row[0] for row in other.rows]
    assert [row[:3] for row in own.rows] == other.rows  # the same images under another name
    assert to_markdown(found).count("## ") == 2


def test_tables_and_pictures(done: Comparison) -> None:
    names = [path.name for path in [*write_tables(done), *draw_comparison(done)]]
    assert names == ["table.md", "table.csv", "comparison.json", "curves.png", "curves.svg"]
    assert all((done.path / name).stat().st_size > 100 for name in names)
    lines = list(csv.DictReader(io.StringIO((done.path / "table.csv").read_text())))
    assert len(lines) == 6
    for line in lines:
        result = done.entrant(line["learner"]).results[Cell(line["data"], int(line["shot"]))]
        assert (line["metric"], float(line["score"])) == ("accuracy", result.mean)
    first = done.plan.cells[0]
    order = [float(row[1].split()[0]) for row in score_tables(done)[0].rows]
    assert order == sorted(order, reverse=True)
    assert f"{100 * done.entrant('protonet').results[first].mean:.2f}" in to_markdown(done)
    assert json.loads((done.path / "comparison.json").read_text())["yardstick"] == "fine_tuning"


def test_the_page_shows_every_learner(done: Comparison) -> None:
    draw_comparison(done)
    page = comparison_page(done)
    titles = [section.title for section in page.sections]
    parts = ("training", "how sure, and how right", "what is taken for what", "test tasks", "settings")
    for learner in ("protonet", "fine_tuning"):
        begin = titles.index(f"{learner}: training")
        assert titles[begin : begin + 5] == [f"{learner}: {part}" for part in parts]
    assert titles[-2:] == ["Protocol", "Plan"]
    protocols = page.sections[-2].tables[0].rows
    assert [row[0] for row in protocols] == [str(cell) for cell in done.plan.cells]
    assert all("5-way" in row[1] for row in protocols)


def test_the_page_outlives_the_runs(done: Comparison, tmp_path: Path) -> None:
    copy = shutil.copytree(done.path, tmp_path / "compared")
    shutil.rmtree(copy / "runs" / "protonet" / "checkpoints")
    (copy / "runs" / "fine_tuning" / "run.json").unlink()
    titles = [section.title for section in comparison_page(load_comparison(copy)).sections]
    assert "protonet: how sure, and how right" in titles
    assert "fine_tuning: how sure, and how right" in titles
    assert "protonet: test tasks" not in titles


def test_transfer_to_other_data(folder: str, tmp_path: Path) -> None:
    found = plan("protonet", "nearest_neighbour", data=folder, transfer=("digits",), way=2, tasks=4)
    compared = run_comparison(found, tmp_path / "compared")
    for entrant in compared.entrants:
        assert set(entrant.results) == {Cell(data, shot) for data in (folder, "digits") for shot in (1, 2)}
        assert entrant.results[Cell("digits", 2)].protocol.startswith("digits: ")
    cells = compared.to_json()["learners"][0]["cells"]
    assert [cell["data"] for cell in cells] == [folder, folder, "digits", "digits"]
    assert all(0 <= cell["ece"] <= 1 for cell in cells)
    draw_comparison(compared)
    assert "digits (transfer)" in (compared.path / "curves.svg").read_text()


def test_functions_are_drawn(tmp_path: Path) -> None:
    options = {"backbone.hidden": "4", "training.validation_tasks": 2, "training.tasks": 2}
    found = plan("maml", "cnp", data="sinusoid", options=options, own={}, steps=1)
    pictures = draw_comparison(run_comparison(found, tmp_path / "compared"))
    assert [path.name for path in pictures] == ["curves.png", "curves.svg", "functions.png", "functions.svg"]
    text = pictures[-1].read_text()
    assert text.count("before adapting") == 1
    # one shaded region for each task of the learner that predicts deviations
    assert text.count('id="FillBetweenPolyCollection') == 3


def test_bad_plans() -> None:
    with pytest.raises(SettingsError, match="protonet"):
        plan("protonett")
    with pytest.raises(SettingsError, match="one budget"):
        plan("protonet", minutes=3.0)
    with pytest.raises(SettingsError, match="named twice"):
        plan("protonet", "protonet")
    with pytest.raises(SettingsError, match=r"--set data\.way: say it by --way"):
        plan("protonet", options={"data.way": 3})
    with pytest.raises(SettingsError, match="same tasks and budget"):
        plan("protonet", own={"protonet": {"data.queries": 3}})
    with pytest.raises(SettingsError, match="not compared"):
        plan("protonet", own={"maml": {}})
    with pytest.raises(SettingsError, match="inner_lr"):
        plan("protonet", own={"protonet": {"learner.inner_lr": 1}}).settings_of("protonet")


def test_what_is_kept_of_a_task(capfd: pytest.CaptureFixture[str]) -> None:
    learner = make_learner("maml", kind="regression", input_shape=(1,), way=1, backbone="mlp")
    tasks = make_functions("sinusoid", shot=5, seed=0, split="test")
    parameters = sum(p.numel() for p in learner.meta_parameters().values())
    assert state_bytes(learner, tasks) == 4 * parameters
    assert adaptation_memory(learner, tasks) >= 4 * parameters
    assert capfd.readouterr().err == ""  # the profiler's own lines are kept back
