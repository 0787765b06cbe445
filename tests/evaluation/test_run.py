from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, LearnerError, RunError, SettingsError
from metacortex.evaluation.results import compare, load_result
from metacortex.evaluation.run import evaluate_run, load_run
from metacortex.settings import from_mapping, merge
from metacortex.training.run import train


@pytest.fixture(scope="session")
def run(tmp_path_factory, data, settings) -> Path:
    return train(settings, tmp_path_factory.mktemp("runs") / "x", progress=False, data=data).path


def test_the_saved_object(run, data):
    result = evaluate_run(run, data, tasks=12)
    assert result.path is not None
    assert result.path.parent == run / "eval"
    saved = json.loads(result.path.read_text())
    assert set(saved) == {
        "version", "accuracy", "ci95", "tasks", "loss", "protocol", "fingerprint", "learner", "checkpoint", "scores",
        "diagnosis",
    }  # fmt: skip
    assert sum(row["count"] for row in saved["diagnosis"]["reliability"]) == 12 * 9
    assert (saved["version"], saved["tasks"], len(saved["scores"])) == (1, 12, 12)
    assert saved["accuracy"] == pytest.approx(np.mean(saved["scores"]))
    assert 0 < saved["ci95"] < 1
    assert saved["protocol"] == {
        "data": "dots", "data_protocol": "thirds", "split": "test", "way": 3, "shot": 1, "queries": 3, "seed": 0,
        "norm": "running", "inner_steps": None,
        "description": "dots: thirds; 3-way 1-shot 3 queries, split test; norm running",
    }  # fmt: skip
    assert load_result(result.path) == result


def test_evaluating_changes_nothing_of_the_run(run, data):
    def content():
        return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.parent.name != "eval"}

    before = content()
    first, second = (evaluate_run(run, data, tasks=5) for _ in range(2))
    assert first == second
    assert content() == before


def test_other_sizes_splits_policies_have_files_of_their_own(run, data):
    results = [
        evaluate_run(run, data, tasks=4, **options)
        for options in (
            {},
            {"way": 5},
            {"shot": 2},
            {"queries": 1},
            {"split": "val"},
            {"norm": "query-batch"},
            {"seed": 1},
        )
    ]
    assert len({r.path for r in results}) == 7
    assert results[5].details["norm"] == "query-batch"
    assert results[5].fingerprint == results[0].fingerprint
    assert len({r.fingerprint for r in results}) == 6


def test_a_learner_that_diverges_while_it_adapts(tmp_path, data, settings):
    wild = merge(settings, {"learner.name": "fine_tuning", "learner.tune_lr": 1e30})
    with pytest.warns(UserWarning, match="no calibration of probabilities is kept: 'fine_tuning' diverges"):
        run = train(wild, tmp_path / "run", progress=False, data=data)
    assert run.finished
    with pytest.raises(LearnerError, match="'fine_tuning' diverges: accuracy or loss are not finite"):
        evaluate_run(run.path, data, tasks=4)


def test_other_inner_steps(tmp_path, data):
    settings = from_mapping(
        {
            "learner": {"name": "maml", "inner_lr": 0.1},
            "backbone": {"name": "mlp", "hidden": [8]},
            "data": {"way": 3, "queries": 3, "size": 8},
            "training": {"steps": 2, "validation_tasks": 2, "tasks": 2},
        }
    )
    train(settings, tmp_path / "maml", progress=False, data=data)
    results = [evaluate_run(tmp_path / "maml", data, tasks=4, inner_steps=k) for k in (None, 1, 5)]
    assert [r.details["inner_steps"] for r in results] == [1, 1, 5]
    assert results[0].loss == results[1].loss != results[2].loss
    assert results[2].protocol.endswith("5 inner steps")


def test_inner_steps_of_a_learner_without_any(run, data):
    with pytest.raises(SettingsError, match="no inner steps"):
        evaluate_run(run, data, tasks=2, inner_steps=3)


def test_other_settings_of_the_learner(run, data):
    usual = evaluate_run(run, data, tasks=4)
    cosine = evaluate_run(run, data, tasks=4, options={"distance": "cosine", "scale": "3"})
    assert cosine.details["options"] == {"distance": "cosine", "scale": "3"}
    assert cosine.protocol.endswith("; distance cosine; scale 3")
    assert cosine.path != usual.path
    assert cosine.loss != usual.loss
    assert load_run(run, options={"scale": "3"}).learner.scale == 3.0
    with pytest.raises(LearnerError, match="evaluate without views"):
        evaluate_run(run, data, tasks=4, views=3)  # rows of numbers
    with pytest.raises(SettingsError, match="did you mean 'scale'"):
        evaluate_run(run, data, tasks=4, options={"scal": "3"})


def test_comparisons_are_paired_or_refused(run, data):
    one, other = evaluate_run(run, data, tasks=6), evaluate_run(run, data, tasks=6, norm="query-batch")
    assert compare(one, other).mean == pytest.approx(one.mean - other.mean)
    for different in ({"tasks": 7}, {"tasks": 6, "seed": 1}, {"tasks": 6, "split": "val"}):
        with pytest.raises(DataError, match="different tasks"):
            compare(one, evaluate_run(run, data, **different))


def test_checkpoints_can_be_chosen(run, data):
    assert load_run(run).checkpoint["name"] == "best"
    assert evaluate_run(run, data, tasks=2, checkpoint="last").checkpoint == {"name": "last", "step": 3}
    with pytest.raises(RunError, match="expected 'best' or 'last'"):
        load_run(run, checkpoint="beast")


def test_a_loaded_run_predicts_as_the_trained_learner(tmp_path, data, settings, episodes):
    trained = train(settings, tmp_path / "run", progress=False, data=data).learner
    loaded = load_run(tmp_path / "run")
    task = episodes.task(0)
    assert torch.equal(loaded.learner.loss(task).prediction, trained.loss(task).prediction)
    assert loaded.calibration is not None
    assert loaded.norm == "running"


def test_wrong_folders_have_a_hint(run, tmp_path):
    for path, hint in (
        (tmp_path / "none", "there is no such folder"),
        (tmp_path, "give the folder that"),
        (run.parent, f"did you mean {run}"),
        (run / "checkpoints", f"did you mean {run}"),
        (run / "run.json", "it is a file"),
    ):
        with pytest.raises(RunError, match="no run in") as caught:
            load_run(path)
        assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "does not describe a run"),
        ('{"kind": "metacortex run", "format": 2}', "format 2, this metacortex knows up to 1"),
        ('{"kind": "metacortex run", "format": 1}', "damaged"),
        ('{"kind": "metacortex run", "format": 1, "learner": {"name": "protonet"}}', "damaged"),
    ],
)
def test_a_run_json_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)


def test_data_that_does_not_fit(run, data):
    rows = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)
    store = ClassStore.from_arrays(rows, np.repeat(np.arange(8), 5))
    other = Dataset("wide", "all", store, {"test": ClassView.of(store)})
    with pytest.raises(RunError, match=r"inputs of shape \(6,\), 'wide' has \(9,\)"):
        evaluate_run(run, other, tasks=2)
    with pytest.raises(RunError, match="trained on data of your own: pass it"):
        evaluate_run(run, tasks=2)
    with pytest.raises(DataError, match="way"):
        evaluate_run(run, data, way=9, tasks=2)
    with pytest.raises(DataError, match="queries"):
        evaluate_run(run, data, shot=9, tasks=2)
    with pytest.raises(SettingsError, match="norm"):
        evaluate_run(run, data, norm="batchy", tasks=2)


def test_more_classes_than_a_fixed_head(tmp_path, data, settings):
    maml = merge(settings, {"learner.name": "maml"})
    train(maml, tmp_path / "run", progress=False, data=data)
    with pytest.raises(LearnerError, match="3 outputs, the task has 4 classes"):
        evaluate_run(tmp_path / "run", data, way=4, tasks=2)


def test_results_that_cannot_be_read(run, data, tmp_path):
    path = evaluate_run(run, data, tasks=3).path
    assert path is not None
    content = json.loads(path.read_text())
    for name, text, message in (
        ("newer", json.dumps({**content, "version": 2}), "version 2"),
        ("cut", path.read_text()[:40], "not a result"),
        ("other", "[1]", "not a result"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(RunError, match=message):
            load_result(tmp_path / name)
    with pytest.raises(RunError, match="cannot read"):
        load_result(tmp_path / "none")
