"""Bad input: one clear line, exit code 2, no traceback, nothing lost and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_support import TINY, Command
from PIL import Image

from drawn_shapes import draw, draw_folder


def snapshot(folder: Path) -> dict[str, bytes]:
    # The lock file is opened by whoever tries to train.
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], r"no such command 'trian'.*'train'"),
        (["data", "lst"], r"no such command 'lst'.*'list'"),
        (["data"], "missing command"),
        (["evaluate", "RUN", "--taks", "3"], "no such option --taks: did you mean --tasks?"),
        (["evaluate", "RUN", "--tasks", "many"], "invalid value for '--tasks'"),
        (["evaluate", "RUN", "--tasks", "0"], "invalid value for '--tasks'"),
        (["evaluate"], "missing argument 'RUN'"),
        (["adapt", "RUN", "TEACH"], "missing option '--out'"),
        (["evaluate", "nowhere"], "no run in nowhere: there is no such folder"),
        (["evaluate", "SHAPES"], "it has no run.json"),
        (["evaluate", "RUN/checkpoints"], "did you mean"),
        (["evaluate", "RUN/checkpoints/best"], "did you mean"),
        (["evaluate", "RUN/run.json"], r"it is a file; give .*protonet"),
        (["evaluate", "RUN", "--inner-steps", "3"], "'protonet' has no inner steps"),
        (
            ["evaluate", "RUN", "--data", "sinusoid"],
            "was trained for classification, 'sinusoid' has tasks of regression",
        ),
        (["evaluate", "RUN", "--data", "omniglto"], "unknown data source 'omniglto': did you mean 'omniglot'?"),
        (["evaluate", "RUN", "--data", "./nowhere"], "no such folder"),
        (["evaluate", "RUN", "--split", "tset"], "unknown split 'tset': did you mean 'test'?"),
        (["evaluate", "RUN", "--norm", "suport"], "unknown value for learner.norm 'suport': did you mean 'support'?"),
        (["evaluate", "RUN", "--most-pairs", "2"], "--most-pairs is for runs that translate"),
        (["evaluate", "RUN", "--checkpoint", "worst"], "unknown checkpoint 'worst'"),
        (["evaluate", "RUN", "--way", "500"], "500"),
        (["evaluate", "RUN", "--shot", "50"], "50"),
        (["evaluate", "MAML", "--way", "9", "--data", "TEACH9"], "5 outputs, the task has 9 classes"),
        (["train"], "say where the run goes: --out FOLDER"),
        (["train", "--out", "OUT"], "say which learner to train"),
        (["train", "mamml", "--out", "OUT"], "unknown learner 'mamml': did you mean 'maml'?"),
        (["train", "maml", "--data", "glyhs", "--out", "OUT"], "unknown data source 'glyhs': did you mean 'glyphs'?"),
        (["train", "maml", "--data", "", "--out", "OUT"], "unknown data source ''"),
        (["train", "maml", "--data", "IMAGE", "--out", "OUT"], "is a file: name a folder"),
        (["train", "maml", "--protocol", "x", "--out", "OUT"], "glyphs is split in one way only"),
        (["translate", "RUN", "hello"], "is one of protonet, which does not translate"),
        (["train", "maml", "--backbone", "conv", "--out", "OUT"], "unknown backbone 'conv': did you mean 'conv4'?"),
        (["train", "maml", "--steps", "many", "--out", "OUT"], "training.steps: expected a whole number, got 'many'"),
        (["train", "maml", "--way", "1", "--out", "OUT"], "data.way: expected a whole number, at least 2"),
        (["train", "maml", "--set", "training.stps=3", "--out", "OUT"], "'stps': did you mean 'steps'?"),
        (["train", "maml", "--set", "trainig.steps=3", "--out", "OUT"], "'trainig': did you mean 'training'?"),
        (["train", "maml", "--set", "steps", "--out", "OUT"], "expected section.key=value"),
        (["train", "maml", "--steps", "3", "--set", "training.steps=4", "--out", "OUT"], "given twice"),
        (["train", "protonet", "--inner-lr", "1", "--out", "OUT"], "inner_lr"),
        (["train", "maml", "--steps", "3", "--minutes", "2", "--out", "OUT"], "one budget"),
        (["train", "maml", "--strategy", "lop", "--out", "OUT"], "did you mean 'loop'?"),
        (["train", "maml", "--config", "nowhere.toml", "--out", "OUT"], "cannot read settings from nowhere.toml"),
        (["train", "--resume", "--out", "OUT"], "no run in"),
        (["train", "protonet", "--out", "RUN"], "holds a run already: continue it with --resume"),
        (["train", "--resume", "--way", "4", "--out", "RUN"], "begun with data.way = 5, not 4"),
        (["train", "protonet", "--data", "SHAPES", "--out", "SHAPES"], "not empty and holds no run"),
        (
            ["train", "maml", "--data", "SHAPES", "--way", "500", "--queries", "3", "--out", "OUT"],
            "a 500-way task needs 500 classes",
        ),
        (["train", "protonet", "--data", "SHAPES", "--queries", "30", "--out", "OUT"], "shape"),
        (["train", "protonet", "--data", "TEACH", "--out", "OUT"], "no split 'train'"),
        (["adapt", "RUN", "nowhere", "--out", "OUT"], "there is no folder nowhere"),
        (["adapt", "nowhere", "TEACH", "--out", "OUT"], "no run in nowhere"),
        (["adapt", "TEACH", "TEACH", "--out", "OUT"], "it has no run.json"),
        (["adapt", "MAML", "TEACH9", "--out", "OUT"], "cannot learn the classes of"),
        (["adapt", "RUN", "TEACH", "--out", "RUN"], "it is a folder"),
        (["adapt", "RUN", "TEACH", "--out", "RUN/run.json"], "there is a file that is not a skill"),
        (["predict", "RUN", "IMAGE"], "is a run, not a skill"),
        (["predict", "nowhere", "IMAGE"], "there is no skill nowhere"),
        (["predict", "IMAGE", "IMAGE"], "is not a skill of metacortex"),
        (["predict", "SKILL", "nowhere.png"], "nowhere.png: there is no such file"),
        (["predict", "SKILL", "TEACH"], "is a folder, expected an image file"),
        (["data", "show", "omniglt"], "unknown data source 'omniglt': did you mean 'omniglot'?"),
        (["data", "show", "omniglot"], "metacortex data add omniglot --from"),
        (["data", "add", "omniglot", "--from", "TEACH"], "omniglot"),
        (["data", "add", "mine", "--from", "nowhere"], "nowhere: there is no such folder"),
        (["data", "add", "glyphs", "--from", "TEACH"], "is a data source already"),
        (["data", "add", "../x", "--from", "TEACH"], "cannot name data"),
        (["data", "check", "digts"], "did you mean 'digits'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_clear_line(
    args: list[str],
    message: str,
    command: Command,
    trained: dict[str, Path],
    shapes: Path,
    teach: Path,
    teach9: Path,
    skill: Path,
    tmp_path: Path,
) -> None:
    import re

    out = tmp_path / "out"
    places = {"RUN": trained["protonet"], "MAML": trained["maml"], "SHAPES": shapes, "TEACH9": teach9, "TEACH": teach}
    places |= {"SKILL": skill, "OUT": out, "IMAGE": teach / "shape00" / "0.png"}

    def fill(arg: str) -> str:
        head, slash, rest = arg.partition("/")
        return f"{places[head]}{slash}{rest}" if head in places else arg

    before = [snapshot(p) for p in (trained["protonet"], trained["maml"], shapes, teach)]
    said = command(*map(fill, args))
    assert re.search(message, said.line()) or message in said.line(), said.err
    assert said.out == ""
    assert [snapshot(p) for p in (trained["protonet"], trained["maml"], shapes, teach)] == before
    assert not out.exists() or not snapshot(out)


@pytest.fixture(scope="session")
def teach9(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "nine", range(9), 16)


def test_every_kind_of_image_is_learned_from(trained: dict[str, Path], command: Command, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "mixed", [0], 1)
    odd = folder / "odd"
    odd.mkdir()
    grey = draw(1, 0, size=50)
    grey.convert("RGB").convert("CMYK").save(odd / "cmyk.jpg")
    grey.convert("P").save(odd / "palette.png")
    grey.convert("LA").save(odd / "alpha.png")
    grey.convert("1").save(odd / "bits.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(odd / "deep.png")
    grey.save(odd / "moving.gif", save_all=True, append_images=[draw(2, 0, size=50)])
    grey.resize((1, 1)).save(odd / "dot.png")
    grey.resize((3000, 2)).save(odd / "strip.png")
    said = command("adapt", trained["protonet"], folder, "--out", tmp_path / "skill", "--json")
    assert said.code == 0, said.err
    assert said.json["classes"] == {"odd": 8, "shape00": 1}


def spoil(kind: str, path: Path) -> None:
    draw(1, 0, size=60).save(path)
    data = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "noise":
        path.write_bytes(data[:40] + bytes(range(200)) + data[240:])
    elif kind == "huge":
        Image.new("1", (12000, 12000)).save(path)


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "noise", "huge"])
def test_a_bad_image_is_named(
    kind: str, trained: dict[str, Path], skill: Path, command: Command, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "teach", [0, 1], 1)
    bad = folder / "shape01" / "bad.png"
    spoil(kind, bad)
    out = tmp_path / "skill"
    assert str(bad) in command("adapt", trained["protonet"], folder, "--out", out).line()
    assert not out.exists()
    assert str(bad) in command("predict", skill, bad).line()
    assert "bad.png" in command("train", "protonet", "--data", folder, *TINY, "--out", tmp_path / "run").line()
    assert not (tmp_path / "run").exists()
    assert "bad.png" in command("data", "add", f"bad-{kind}", "--from", folder).line()
    assert f"bad-{kind}" not in command("data", "list").out


def test_bad_folders_of_examples(trained: dict[str, Path], command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (draw_folder(tmp_path / "hole", [0], 1) / "none").mkdir()
    draw_folder(tmp_path / "one", [0], 2)
    cases = {"empty": "no classes in", "hole": "class 'none' has no images", "one": "has one class, 'shape00'"}
    for name, message in cases.items():
        said = command("adapt", trained["protonet"], tmp_path / name, "--out", tmp_path / "skill")
        assert message in said.line()
        assert not (tmp_path / "skill").exists()


def test_a_class_with_one_image(shapes: Path, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    for kind in range(25):
        for file in sorted((folder / f"shape{kind:02}").iterdir())[1:]:
            file.unlink()
    line = command("train", "protonet", "--data", folder, *TINY, "--out", tmp_path / "run").line()
    assert "has 1" in line
    assert "shape" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read and write everything")
def test_no_permission(trained: dict[str, Path], teach: Path, command: Command, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert "cannot read the folder" in command("adapt", trained["protonet"], closed, "--out", tmp_path / "s").line()
        assert "ermission" in command("adapt", trained["protonet"], teach, "--out", closed / "s").line()
        assert "ermission" in command("train", "maml", "--data", teach, "--out", closed / "run").line()
    finally:
        closed.chmod(0o700)


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a run, to spoil."""
    shutil.copytree(trained["protonet"], tmp_path / "copy")
    return tmp_path / "copy"


def every_use(command: Command, run: Path, teach: Path, tmp_path: Path) -> list[str]:
    return [
        command("evaluate", run, "--tasks", 2).line(),
        command("adapt", run, teach, "--out", tmp_path / "skill").line(),
        command("train", "--resume", "--out", run, "--quiet").line(),
    ]


def test_a_damaged_checkpoint(run: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    for name in ("best", "last"):
        file = run / "checkpoints" / name / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    before = snapshot(run)
    assert all(
        "is damaged: model.safetensors does not match its checksum" in x
        for x in every_use(command, run, teach, tmp_path)
    )
    # A longer budget is not written down before the checkpoint has been read.
    assert "is damaged" in command("train", "--resume", "--steps", 9, "--out", run, "--quiet").line()
    assert snapshot(run) == before


def test_a_newer_checkpoint(run: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    for name in ("best", "last"):
        file = run / "checkpoints" / name / "state.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    assert all(
        "checkpoint format 99" in x and "update metacortex" in x for x in every_use(command, run, teach, tmp_path)
    )


def test_a_newer_run(run: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    file = run / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    assert all(
        "run format 99" in line and "update metacortex" in line for line in every_use(command, run, teach, tmp_path)
    )


def test_a_damaged_run(run: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    file = run / "run.json"
    file.write_bytes(file.read_bytes()[:-40])
    assert all("run.json is damaged" in line for line in every_use(command, run, teach, tmp_path))


def test_the_checkpoint_of_another_model(
    run: Path, trained: dict[str, Path], teach: Path, command: Command, tmp_path: Path
) -> None:
    for name in ("best", "last"):
        shutil.rmtree(run / "checkpoints" / name)
        shutil.copytree(trained["maml"] / "checkpoints" / name, run / "checkpoints" / name)
    assert all("checkpoint of another model" in line for line in every_use(command, run, teach, tmp_path))


def test_a_damaged_skill(skill: Path, teach: Path, command: Command, tmp_path: Path) -> None:
    copy = tmp_path / "skill"
    data = bytearray(skill.read_bytes())
    data[-3] ^= 1
    copy.write_bytes(data)
    assert "does not match its checksum" in command("predict", copy, teach / "shape00" / "0.png").line()
    copy.write_bytes(skill.read_bytes()[:-9])
    assert "is damaged" in command("predict", copy, teach / "shape00" / "0.png").line()


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk(run: Path, teach: Path, shapes: Path, command: Command, tmp_path: Path) -> None:
    before = snapshot(run)
    assert all("No space left on device" in line for line in every_use(command, run, teach, tmp_path))
    assert snapshot(run) == before
    assert not (tmp_path / "skill").exists()
    out = tmp_path / "new"
    said = command("train", "protonet", "--data", shapes, *TINY, "--steps", 2, "--quiet", "--out", out)
    assert "No space left on device" in said.line()
    assert not (out / "run.json").exists()


def test_what_was_measured_is_told_on_a_full_disk(run: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = command("evaluate", run, "--tasks", 2, "--json").json
    before = snapshot(run)
    fill_disk(monkeypatch)
    said = command("evaluate", run, "--tasks", 2)
    assert "No space left on device" in said.line()
    assert said.out.startswith("protonet: accuracy")
    again = command("evaluate", run, "--tasks", 2, "--json").json
    assert again == {**figures, "saved": None}
    assert snapshot(run) == before


def test_a_full_disk_spoils_no_skill(
    skill: Path,
    trained: dict[str, Path],
    teach: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "skill"
    shutil.copy(skill, copy)
    fill_disk(monkeypatch)
    assert "No space left" in command("adapt", trained["maml"], teach, "--out", copy).line()
    assert copy.read_bytes() == skill.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["skill"]


def test_nan_in_arrays_is_refused() -> None:
    from metacortex.data.arrays import from_arrays
    from metacortex.errors import DataError

    values = np.zeros((6, 3), np.float32)
    values[4, 1] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinite values .*in 1 rows"):
        from_arrays(values, [0, 0, 1, 1, 2, 2])


def test_debug_shows_the_traceback_of_an_error(command: Command) -> None:
    from metacortex.errors import RunError

    for args in (["--debug", "evaluate", "nowhere"], ["evaluate", "nowhere", "--debug"]):
        with pytest.raises(RunError, match="there is no such folder"):
            command(*args)


def test_a_defect_is_not_hidden(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: an error that is not the user's keeps its traceback."""
    from metacortex.learners import registry

    def broken() -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(registry, "learner_names", broken)
    with pytest.raises(ZeroDivisionError):
        command("learners")


def test_interrupts_and_system_errors_have_their_codes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from metacortex.learners import registry

    def raises(error: BaseException) -> None:
        def broken() -> list[str]:
            raise error

        monkeypatch.setattr(registry, "learner_names", broken)

    raises(KeyboardInterrupt())
    assert command("learners").code == 130
    raises(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file"))
    assert command("learners").line() == "some file: No space left on device"
    raises(MemoryError())
    assert command("learners").line().startswith("not enough memory")
