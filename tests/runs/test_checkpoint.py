from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from metacortex.errors import RunError
from metacortex.runs import files
from metacortex.runs.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from metacortex.runs.files import find_directory, recover_directory, replace_directory, write_file

OPERATIONS = ("rename", "replace", "fsync", "mkdir", "open")


def _checkpoint(step: int) -> Checkpoint:
    return Checkpoint({"w": torch.full((3,), float(step))}, {"w/step": torch.tensor(float(step))}, {"step": step})


def _fail_at(monkeypatch: pytest.MonkeyPatch, n: int) -> list[int]:
    """Let the n-th file operation from here on fail as on a full disk; the list holds how many are left."""
    left = [n]

    def failing(function):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args, **kwargs)

        return wrapped

    for name in OPERATIONS:
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    monkeypatch.setattr(files, "open", failing(open), raising=False)
    return left


def test_round_trip_keeps_every_bit(tmp_path: Path):
    weights = {"a": torch.randn(3, 4), "b": torch.tensor(2), "c": torch.tensor([1e-45, float("inf")])}
    state = {"step": 7, "loss_sum": 0.1 + 0.2, "best_score": None}
    save_checkpoint(tmp_path / "last", Checkpoint(weights, {"a/exp_avg": torch.randn(3, 4)}, state))
    loaded = load_checkpoint(tmp_path / "last")
    assert loaded.state == state
    assert all(torch.equal(loaded.model[k], weights[k]) for k in weights)
    assert set(loaded.model) == set(weights)


def test_tied_tensors_are_saved(tmp_path: Path):
    tied = torch.randn(2, 2)
    save_checkpoint(tmp_path / "last", Checkpoint({"a": tied, "b": tied, "c": tied.T}))
    assert torch.equal(load_checkpoint(tmp_path / "last").model["c"], tied.T)


def test_a_failure_of_any_file_operation_leaves_a_complete_checkpoint(tmp_path, monkeypatch):
    seen = set()
    for n in range(100):
        target = tmp_path / str(n) / "last"
        save_checkpoint(target, _checkpoint(1))
        with monkeypatch.context() as patch:
            left = _fail_at(patch, n)
            try:
                save_checkpoint(target, _checkpoint(2))
                failed = False
            except RunError as error:
                message, failed = str(error), True
            finished = left[0] >= 0
        if failed:
            assert "No space left" in message
            assert "step 2" in message
        loaded = load_checkpoint(target)
        assert loaded.model["w"].tolist() == [loaded.state["step"]] * 3
        seen.add((failed, loaded.state["step"]))
        save_checkpoint(target, _checkpoint(3))
        assert load_checkpoint(target).state["step"] == 3
        assert [p.name for p in target.parent.iterdir()] == ["last"]
        if finished:
            break
    assert finished
    assert (True, 1) in seen
    assert (False, 2) in seen
    # What fails after the new checkpoint is complete may raise, but must not lose it.
    assert (False, 1) not in seen


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    for n in range(4):
        write_file(path, "before")
        with monkeypatch.context() as patch:
            _fail_at(patch, n)
            try:
                write_file(path, "after")
            except OSError:
                assert path.read_text() == "before"
            else:
                assert path.read_text() == "after"
        assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_every_state_that_a_kill_can_leave_is_recovered(tmp_path: Path):
    for present, newest in (
        (("last", "last.next"), "last.next"),
        (("last.old", "last.next"), "last.next"),
        (("last", "last.old"), "last"),
        (("last.old",), "last.old"),
        (("last", "last.old", "last.next"), "last.next"),
        ((".last.tmp", "last"), "last"),
    ):
        folder = tmp_path / "-".join(present)
        for name in present:
            replace_directory(folder / "made", {"f": name.encode()})
            os.rename(folder / "made", folder / name)
        found = find_directory(folder / "last")
        assert found is not None
        assert (found / "f").read_text() == newest
        recover_directory(folder / "last")
        assert sorted(p.name for p in folder.iterdir()) == ["last"]
        assert (folder / "last" / "f").read_text() == newest


def test_no_checkpoint_is_an_error(tmp_path: Path):
    with pytest.raises(RunError, match="no checkpoint in"):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "missing", "empty"])
def test_damage_is_noticed(tmp_path: Path, name: str, how: str):
    save_checkpoint(tmp_path / "last", _checkpoint(1))
    path = tmp_path / "last" / name
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "changed":
        content[-6 if name == "state.json" else -1] ^= 255
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(tmp_path / "last")


def test_weights_are_read_without_the_optimiser(tmp_path: Path):
    save_checkpoint(tmp_path / "last", _checkpoint(1))
    expected = load_checkpoint(tmp_path / "last").model
    (tmp_path / "last" / "optimizer.safetensors").unlink()
    loaded = load_checkpoint(tmp_path / "last", weights_only=True)
    assert loaded.model.keys() == expected.keys()
    assert all(torch.equal(loaded.model[name], x) for name, x in expected.items())
    assert loaded.optimizer == {}
    (tmp_path / "last" / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"model.safetensors does not match"):
        load_checkpoint(tmp_path / "last", weights_only=True)


def test_a_newer_format_is_refused(tmp_path: Path):
    save_checkpoint(tmp_path / "last", _checkpoint(1))
    path = tmp_path / "last" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(RunError, match=r"format 2, this metacortex knows up to 1: update"):
        load_checkpoint(tmp_path / "last")


def test_weights_of_another_model_name_the_tensors():
    learner = nn.Linear(3, 2)
    other = {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}
    with pytest.raises(RunError) as caught:
        load_weights(learner, other, "runs/x")
    for part in ("bias is missing", "scale is not part", "weight is [2, 4], expected [2, 3]", "runs/x"):
        assert part in str(caught.value)
