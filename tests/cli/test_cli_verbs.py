from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_support import TINY, Command

import metacortex
from metacortex.evaluation.intervals import mean_interval
from metacortex.learners.registry import learner_names, learner_settings
from metacortex.nn.registry import backbone_settings
from metacortex.settings import RunSettings, from_toml, merge


def test_train_evaluate_resume(shapes: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = command("train", "protonet", "--data", shapes, "--steps", 3, *TINY, "--seed", 1, "--out", run, "--json")
    assert said.code == 0
    assert {k: said.json[k] for k in ("version", "command", "run", "learner", "steps", "finished", "interrupted")} == {
        "version": 1,
        "command": "train",
        "run": str(run),
        "learner": "protonet",
        "steps": 3,
        "finished": True,
        "interrupted": False,
    }
    assert 0 <= said.json["best_score"] <= 1
    said = command("train", "--resume", "--out", run, "--steps", 5, "--quiet", "--json")
    assert (said.code, said.json["steps"], said.err) == (0, 5, "")
    assert len((run / "config.toml").read_text().split("steps = 5")) == 2

    said = command("evaluate", run, "--tasks", 12, "--json")
    found = said.json
    assert set(found) == {
        *("version", "command", "accuracy", "ci95", "tasks", "loss", "protocol", "fingerprint", "learner"),
        *("checkpoint", "scores", "diagnosis", "run", "saved"),
    }
    assert (found["version"], found["command"], found["tasks"], len(found["scores"])) == (1, "evaluate", 12, 12)
    interval = mean_interval(found["scores"])
    assert found["accuracy"] == pytest.approx(interval.mean)
    assert found["ci95"] == pytest.approx(interval.half)
    assert found["protocol"]["way"] == 5
    assert found["protocol"]["norm"] == "running"
    assert json.loads(Path(found["saved"]).read_text())["scores"] == found["scores"]
    assert command("evaluate", run, "--tasks", 12, "--json").json == found

    said = command("evaluate", run, "--tasks", 4, "--way", 3, "--shot", 2, "--queries", 2, "--split", "val")
    assert said.code == 0
    assert " % (95 % interval, 4 tasks)" in said.out
    assert "3-way 2-shot 2 queries, split val; norm running" in said.out


def test_settings_come_from_file_flags_and_assignments(shapes: Path, command: Command, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'[learner]\nname = "maml"\ninner_lr = 0.05\n[data]\nname = "{shapes.as_posix()}"\nsize = 14\nqueries = 2\n'
        '[backbone]\nname = "mlp"\nhidden = [8]\n[training]\nsteps = 2\nlr = 0.01\ntasks = 2\nvalidation_tasks = 2\n'
    )
    args = ["--config", config, "--inner-steps", 2, "--set", "training.lr=0.5", "--way", 3, "--order", 1, "--quiet"]
    assert command("train", *args, "--out", tmp_path / "run").code == 0
    text = (tmp_path / "run" / "config.toml").read_text()
    for line in ("inner_lr = 0.05", "inner_steps = 2", "order = 1", "lr = 0.5", "way = 3", "steps = 2"):
        assert f"\n{line}\n" in text


def test_ctrl_c_saves_and_says_how_to_go_on(
    shapes: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from metacortex.training import trainer

    step = trainer.Trainer._step

    def press(self: trainer.Trainer) -> float:
        if self.state.step == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(trainer.Trainer, "_step", press)
    run = tmp_path / "run"
    said = command("train", "protonet", "--data", shapes, "--steps", 50, *TINY, "--quiet", "--out", run, "--json")
    assert said.code == 130
    assert (said.json["steps"], said.json["interrupted"], said.json["finished"]) == (3, True, False)
    assert f"stopped and saved at step 3; continue with: metacortex train --resume --out {run}" in said.err
    monkeypatch.undo()
    said = command("train", "--resume", "--out", run, "--steps", 4, "--quiet", "--json")
    assert (said.code, said.json["steps"]) == (0, 4)


def test_adapt_and_predict(trained: dict[str, Path], teach: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "my.skill"
    said = command("adapt", trained["protonet"], teach, "--out", out, "--json")
    assert said.json == {
        "version": 1,
        "command": "adapt",
        "skill": str(out),
        "bytes": out.stat().st_size,
        "learner": "protonet",
        "norm": "running",
        "classes": {"shape00": 2, "shape01": 2, "shape12": 2},
        "background": "dark",
        "invert": None,
        "threshold": pytest.approx(said.json["threshold"]),
    }
    image = teach / "shape12" / "1.png"
    said = command("predict", out, image, image, "--nearest", 1, "--json")
    assert {k: said.json[k] for k in ("version", "command", "skill")} == {
        "version": 1,
        "command": "predict",
        "skill": str(out),
    }
    first, second = said.json["images"]
    assert first == second
    keys = ("image", "label", "known", "most_likely", "probabilities", "nearest", "score", "threshold")
    assert set(first) == set(keys)
    assert first["nearest"] == [
        {"example": "shape12/1.png", "label": "shape12", "distance": pytest.approx(0, abs=1e-4)}
    ]
    said = command("predict", out, image)
    assert said.out.startswith(f"{image}: ")
    assert "shape12" in said.out
    assert "nearest: shape12/1.png" in said.out


def test_one_bad_image_does_not_spoil_the_others(skill: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = teach / "shape00" / "0.png"
    said = command("predict", skill, good, tmp_path / "bad.png")
    assert said.line().startswith(f"{tmp_path / 'bad.png'}: not an image")
    assert said.out.startswith(f"{good}: ")
    said = command("predict", skill, tmp_path / "bad.png", good, "--json")
    assert said.code == 2
    assert list(said.json["images"][0]) == ["image", "error"]
    assert said.json["images"][1]["image"] == str(good)


def test_a_maml_run_adapts_to_fewer_classes(
    trained: dict[str, Path], teach: Path, command: Command, tmp_path: Path
) -> None:
    assert command("adapt", trained["maml"], teach, "--out", tmp_path / "s", "--invert").code == 0
    said = command("predict", tmp_path / "s", teach / "shape00" / "0.png", "--json")
    assert len(said.json["images"][0]["probabilities"]) == 3


def test_none_of_these_is_said(skill: Path, teach: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from metacortex.skills import skill as module

    monkeypatch.setattr(module, "novelty_scores", lambda support, targets, queries, metric: queries.new_full((1,), 1e9))
    said = command("predict", skill, teach / "shape00" / "0.png")
    assert ": none of these  (score 1000000000.00 > " in said.out


def test_data_verbs(shapes: Path, command: Command) -> None:
    before = {s["name"] for s in command("data", "list", "--json").json["sources"]}
    assert {"digits", "glyphs", "omniglot"} <= before
    said = command("data", "add", "my-shapes", "--from", shapes, "--json")
    assert (said.code, said.json["name"]) == (0, "my-shapes")
    assert {s["name"] for s in command("data", "list", "--json").json["sources"]} == before | {"my-shapes"}
    assert "my-shapes" in command("data", "list").out
    facts = command("data", "show", "my-shapes", "--json").json
    assert (facts["version"], facts["classes"], facts["images"]) == (1, 25, 150)
    assert "25 classes, 150 images" in command("data", "show", "my-shapes").out
    report = command("data", "check", "my-shapes", "--json")
    assert (report.code, report.json["ok"], report.json["problems"]) == (0, True, [])
    assert "all well" in command("data", "check", "my-shapes").out
    copy = Path(said.json["path"])
    next(copy.rglob("0.png")).write_bytes(b"broken")
    assert "has problems" in command("data", "check", "my-shapes").line()
    report = command("data", "check", "my-shapes", "--json")
    assert report.code == 2
    assert not report.json["ok"]
    shutil.rmtree(copy)


def test_learners_are_listed(command: Command) -> None:
    found = {e["name"]: e for e in command("learners", "--json").json["learners"]}
    assert {"maml", "protonet", "fine_tuning", "nearest_neighbour"} <= set(found)
    assert found["maml"]["options"]["inner_lr"] == 0.4
    assert "protonet" in command("learners").out


@pytest.mark.parametrize("learner", learner_names())
def test_all_settings_are_printed_with_their_meaning(learner: str, command: Command) -> None:
    """What is printed is a file that `train --config` reads, with what the settings are by default."""
    settings = merge(RunSettings(), {"learner.name": learner})
    printed = from_toml(command("settings", learner).out)
    assert (printed.data, printed.training, printed.learner.name) == (settings.data, settings.training, learner)
    for name in ("learner", "backbone"):
        part, given = getattr(printed, name), getattr(settings, name).options
        options = {key: value for key, value in part.options.items() if key not in given}
        defaults = (learner_settings if name == "learner" else backbone_settings)(part.name)()
        assert all(getattr(defaults, key) == value for key, value in options.items())
    sections = command("settings", learner, "--json").json["settings"]
    assert all(one["meaning"] and one["expected"] for section in sections.values() for one in section)


def test_a_printed_file_is_trained_by(shapes: Path, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(command("settings", "maml", "--data", shapes, "--backbone", "mlp").out)
    small = ["--set", "backbone.hidden=8", "--set", "training.validation_tasks=2", "--size", 14, "--queries", 3]
    said = command("train", "--config", file, "--steps", 1, "--quiet", *small, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert f'name = "{shapes.as_posix()}"' in (tmp_path / "run" / "config.toml").read_text()
    assert "did you mean 'maml'?" in command("settings", "mamml").line()


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"metacortex {metacortex.__version__}\n"
    assert command().out == command("--help").out
    verbs = (
        "demo",
        "train",
        "evaluate",
        "adapt",
        "predict",
        "learners",
        "settings",
        "data list",
        "data show",
        "data add",
        "data check",
    )
    for verb in verbs:
        said = command(*verb.split(), "--help")
        assert said.code == 0
        assert f"metacortex {verb}" in said.out.split("Example")[1]
        assert "--json" in said.out


def environment() -> dict[str, str]:
    source = str(Path(metacortex.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom metacortex.cli.main import main\ncode = main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'PIL', 'matplotlib', 'safetensors', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert time.perf_counter() - start < 10


def test_the_real_command(skill: Path, teach: Path, tmp_path: Path) -> None:
    """One real process: exit code, streams, and a file name with spaces and accents."""
    image = tmp_path / "mein schönes Bild.png"
    shutil.copy(teach / "shape00" / "0.png", image)
    args = [sys.executable, "-m", "metacortex", "predict", str(skill), str(image), "--json"]
    done = subprocess.run(args, capture_output=True, text=True, env=environment(), encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["images"][0]["image"] == str(image)
