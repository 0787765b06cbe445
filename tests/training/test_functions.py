"""Runs on functions instead of images: the same verbs, other settings, another score."""

from __future__ import annotations

from pathlib import Path

import pytest

from metacortex.errors import RunError, SettingsError
from metacortex.evaluation.run import evaluate_run
from metacortex.runs.log import read_log
from metacortex.settings import DataSettings, FunctionSettings, RunSettings, from_mapping, from_toml, merge, to_toml
from metacortex.training.run import train

TINY = {
    "learner": {"name": "maml", "inner_lr": 0.01},
    "data": {"name": "sinusoid", "shot": 5, "queries": 5},
    "training": {"steps": 40, "tasks": 4, "validate_every": 20, "validation_tasks": 20, "lr": 0.005},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sine"
    train(from_mapping(TINY), out, progress=False)
    return out


def test_settings_follow_the_kind_of_data() -> None:
    settings = from_mapping(TINY)
    assert isinstance(settings.data, FunctionSettings)
    assert (settings.backbone.name, dict(settings.backbone.options)) == ("mlp", {"hidden": (40, 40)})
    assert from_toml(to_toml(settings)) == settings
    changed = merge(RunSettings(), {"learner.name": "maml", "data.name": "harmonic", "data.shot": "7"})
    assert isinstance(changed.data, FunctionSettings)
    assert (changed.data.shot, changed.backbone.name) == (7, "mlp")
    assert isinstance(merge(changed, {"data.name": "glyphs"}).data, DataSettings)
    with pytest.raises(SettingsError, match="way"):
        merge(changed, {"data.way": 5})
    with pytest.raises(SettingsError, match=r"did you mean .shot."):
        merge(RunSettings(), {"data.name": "sinusoid", "data.shots": 3})


def test_the_lowest_error_is_the_best(run: Path) -> None:
    scores = {line["step"]: line["val_mse"] for line in read_log(run / "log.jsonl") if "val_mse" in line}
    assert sorted(scores) == [20, 40]
    best = evaluate_run(run, tasks=20, split="val")
    assert best.mean == pytest.approx(min(scores.values()), rel=1e-4)


def test_evaluation_says_what_was_measured(run: Path) -> None:
    result = evaluate_run(run, tasks=10)
    assert result.details["shot"] == 5
    assert "sinusoid" in result.protocol
    assert result.path is not None
    assert "sinusoid-test-5shot-5query" in result.path.name
    more = evaluate_run(run, shot=10, tasks=10, save=False)
    assert more.fingerprint != result.fingerprint
    assert evaluate_run(run, "harmonic", tasks=10, save=False).details["data"] == "harmonic"


def test_kinds_are_not_mixed(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was trained for regression"):
        evaluate_run(run, "digits")
    with pytest.raises(SettingsError, match="does not do regression"):
        train(merge(from_mapping(TINY), {"learner.name": "protonet"}), tmp_path / "x", progress=False)
    assert not (tmp_path / "x").exists()


def test_an_interrupted_run_continues_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    settings = from_mapping(TINY)

    def stop(event: object) -> None:
        raise KeyboardInterrupt

    first = train(settings, tmp_path / "r", progress=stop)
    assert first.interrupted
    second = train(None, tmp_path / "r", resume=True, progress=False)
    whole = train(settings, run, resume=True, progress=False)
    for name, value in whole.learner.state_dict().items():
        assert second.learner.state_dict()[name].equal(value)
