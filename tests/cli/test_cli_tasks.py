"""``metacortex tasks similar``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import Command

from drawn_shapes import draw_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Strokes in two folders, frames, and new strokes."""
    place = tmp_path_factory.mktemp("tasks")
    kinds = {"bars": [2, 8, 12], "more-bars": [3, 17, 18, 23], "frames": [0, 5, 10], "new": [7, 13, 22]}
    return {name: draw_folder(place / name, numbers, 4) for name, numbers in kinds.items()}


def among(folders: dict[str, Path], *names: str) -> str:
    return ",".join(str(folders[name]) for name in names)


@pytest.mark.parametrize("measure", ["task2vec", "pixels", "otdd"])
def test_folders_are_ranked(folders: dict[str, Path], command: Command, measure: str) -> None:
    known = among(folders, "frames", "bars", "more-bars")
    said = command("tasks", "similar", folders["new"], "--among", known, "--measure", measure, "--json")
    assert said.code == 0, said.err
    found = said.json
    assert found["command"] == "tasks similar"
    assert found["measure"] == measure
    assert found["new"] == {"name": str(folders["new"]), "classes": 3, "examples": 12}
    assert found["probe"] == (None if measure == "pixels" else "weights of the package")
    ranked = [Path(row["task"]).name for row in found["ranking"]]
    assert sorted(ranked) == ["bars", "frames", "more-bars"]
    if measure != "task2vec":  # that needs more to see of three classes, see tests/similarity
        assert ranked[-1] == "frames"
    distances = [row["distance"] for row in found["ranking"]]
    assert distances == sorted(distances)


def test_table(folders: dict[str, Path], command: Command) -> None:
    known = among(folders, "bars", "more-bars")
    said = command("tasks", "similar", folders["new"], "--among", known, "--measure", "classes", "--top", 1)
    assert said.code == 0, said.err
    lines = [line for line in said.out.splitlines() if line.strip()]
    assert "3 classes, 12 examples) by classes" in lines[0]
    assert len(lines) == 3
    assert "more-bars" in lines[2]
    assert lines[2].split()[-2:] == ["4", "16"]


def test_network_of_a_run(trained: dict[str, Path], folders: dict[str, Path], command: Command) -> None:
    known = among(folders, "bars", "frames")
    said = command("tasks", "similar", trained["protonet"], folders["new"], "--among", known, "--json")
    assert said.code == 0, said.err
    assert said.json["probe"] == str(trained["protonet"])
    assert len(said.json["ranking"]) == 2


def test_mistakes_end_in_one_line(
    trained: dict[str, Path], folders: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    def line(*words: object) -> str:
        return command("tasks", "similar", *words).line()

    assert "did you mean 'otdd'" in line(folders["new"], "--among", folders["bars"], "--measure", "otd")
    assert "nothing to compare with" in line(folders["new"])
    assert "there is no folder" in line(tmp_path / "none", "--among", folders["bars"])
    assert "--data omniglot" in line("Tengwar", "--among", folders["bars"])
    assert "do not belong to groups" in line(trained["protonet"], folders["new"])
    assert "expected [RUN] NEW" in line("a", "b", "c")
    (tmp_path / "flat").mkdir()
    assert "no classes in" in line(tmp_path / "flat", "--among", folders["bars"])


def test_learned_from_transfers_that_are_kept(folders: dict[str, Path], tmp_path: Path, command: Command) -> None:
    """What was measured is read the second time; of other tasks it is refused."""
    names = ("bars", "more-bars", "frames")
    place = folders["bars"].parent
    extra = draw_folder(place / "more-disks", [11, 13, 15], 4)
    known = f"{among(folders, *names)},{extra}"
    kept = {
        "format": 1,
        "tasks": known.split(","),
        "accuracy": [[None, 0.9, 0.3, 0.2], [0.8, None, 0.2, 0.3], [0.2, 0.1, None, 0.9], [0.1, 0.2, 0.8, None]],
    }
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(kept))
    words = ("tasks", "similar", folders["new"], "--measure", "learned", "--transfers", path, "--json")
    said = command(*words, "--among", known)
    assert said.code == 0, said.err
    assert len(said.json["ranking"]) == 4
    assert json.loads(path.read_text()) == kept
    told = command(*words, "--among", known, "--measure", "set").json["ranking"]
    untold = command(*words[:3], "--measure", "set", "--json", "--among", known).json["ranking"]
    assert {r["task"]: r["distance"] for r in told} != {r["task"]: r["distance"] for r in untold}
    said = command(*words, "--among", f"{known},{folders['new'].parent / 'new'},{place}/other")
    assert "there is no folder" in said.line()
    other = draw_folder(place / "other", [3, 7], 4)
    assert "are of other tasks" in command(*words, "--among", f"{known},{other}").line()
    path.write_text("{")
    assert "damaged" in command(*words, "--among", known).line()
