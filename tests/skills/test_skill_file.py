from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from metacortex.errors import LearnerError, RunError
from metacortex.skills import file as skill_file
from metacortex.skills.file import SKILL_VERSION, read_skill_file, write_skill_file
from metacortex.skills.state import flatten_state, unflatten_state

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6.0).reshape(2, 3), "c": torch.tensor([True])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_skill_file(tmp_path / "deep" / "skill", {"note": "ü"}, TENSORS)
    return tmp_path / "deep" / "skill"


def test_round_trip(path: Path) -> None:
    header, tensors = read_skill_file(path)
    assert header["note"] == "ü"
    assert header["version"] == SKILL_VERSION
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)


def test_equal_tensors_are_stored_once(path: Path) -> None:
    assert read_skill_file(path)[0]["aliases"] == {"b": "a"}


def test_every_changed_byte_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    for position in range(0, len(data), max(len(data) // 60, 1)):
        broken = bytearray(data)
        broken[position] ^= 1
        path.write_bytes(broken)
        with pytest.raises(RunError):
            read_skill_file(path)


@pytest.mark.parametrize("keep", [0, 5, 60, 300, -1])
def test_a_cut_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"metacortex adapt"):
        read_skill_file(path)


def test_a_newer_format_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skill_file, "SKILL_VERSION", SKILL_VERSION + 1)
    write_skill_file(path, {}, TENSORS)
    monkeypatch.undo()
    with pytest.raises(RunError, match=f"skill format {SKILL_VERSION + 1}, .* {SKILL_VERSION}: update"):
        read_skill_file(path)


def test_what_is_no_skill_is_refused_with_a_hint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "text").write_text("hello, this is not a skill at all")
    (tmp_path / "empty").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    cases = {
        "model.safetensors": "holds tensors, but it is not a skill",
        "text": "is not a skill",
        "empty": "is not a skill",
        "run": "is a run, not a skill: .*metacortex adapt",
        "nowhere": "there is no skill",
        ".": "is a folder, not a skill",
    }
    for name, message in cases.items():
        with pytest.raises(RunError, match=message):
            read_skill_file(tmp_path / name)


def test_only_a_skill_is_replaced(tmp_path: Path, path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG and more")
    with pytest.raises(RunError, match="there is a file that is not a skill"):
        write_skill_file(photo, {}, TENSORS)
    assert photo.read_bytes() == b"\x89PNG and more"
    with pytest.raises(RunError, match="it is a folder"):
        write_skill_file(tmp_path, {}, TENSORS)
    write_skill_file(path, {"note": "second"}, TENSORS)
    assert read_skill_file(path)[0]["note"] == "second"


def test_a_full_disk_leaves_the_old_skill(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write the skill .*: No space left"):
        write_skill_file(path, {"note": "second"}, TENSORS)
    monkeypatch.undo()
    assert read_skill_file(path)[0]["note"] == "ü"
    assert [p.name for p in path.parent.iterdir()] == ["skill"]


def test_states_of_any_form_survive() -> None:
    state: dict[str, Any] = {
        "weights": {"a.b": torch.rand(2, 3), "a/c": torch.rand(1)},
        "a": {"c": torch.rand(2)},
        "list": [torch.tensor(1), None, (torch.tensor([True]), 2.5, "x")],
        "weights/a": {"c": torch.rand(3)},
    }
    structure, tensors = flatten_state(state)
    back = unflatten_state(json.loads(json.dumps(structure)), tensors)
    assert list(back) == list(state)
    torch.testing.assert_close(back["weights"], state["weights"], rtol=0, atol=0)
    assert torch.equal(back["weights/a"]["c"], state["weights/a"]["c"])
    assert back["list"][1] is None
    assert back["list"][2][1:] == (2.5, "x")


def test_floats_become_single_and_whole_numbers_stay() -> None:
    _, tensors = flatten_state({"x": torch.rand(2, dtype=torch.float64, requires_grad=True), "n": torch.tensor([3])})
    assert tensors["state/x"].dtype == torch.float32
    assert not tensors["state/x"].requires_grad
    assert tensors["state/n"].dtype == torch.int64


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(LearnerError, match="a set at state/x/0"):
        flatten_state({"x": [{1}]})
