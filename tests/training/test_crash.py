"""Runs that are killed: real processes, SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metacortex.runs.checkpoint import load_checkpoint
from metacortex.runs.log import read_log, without_timing
from metacortex.training.run import train
from training.crash_driver import chain_settings

DRIVER = Path(__file__).with_name("crash_driver.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def _drive(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _answer(process: subprocess.Popen[str]):
    stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def _files(checkpoint: Path) -> dict[str, bytes]:
    return {name: (checkpoint / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


def test_killed_at_each_file_operation_of_a_save(tmp_path: Path):
    steps = _answer(_drive("saves", tmp_path))
    assert len(steps) > 10
    assert set(steps) == {2, 3}
    assert steps == sorted(steps), "once the new checkpoint is complete it stays"


@pytest.mark.slow
def test_killed_thirty_two_times_and_resumed_is_bit_for_bit_the_same_run(tmp_path: Path, data):
    chains = [_drive("chain", tmp_path / f"killed{seed}", seed, 16) for seed in (1, 2)]
    train(chain_settings(), tmp_path / "whole", progress=False, data=data)
    whole = tmp_path / "whole"
    for seed, process in zip((1, 2), chains, strict=True):
        answer = _answer(process)
        assert answer["killed"] == 16
        killed = tmp_path / f"killed{seed}"
        for name in ("last", "best"):
            assert _files(killed / "checkpoints" / name) == _files(whole / "checkpoints" / name)
        lines = without_timing(read_log(killed / "log.jsonl"))
        assert lines == without_timing(read_log(whole / "log.jsonl"))
        assert [line["step"] for line in lines] == sorted({*range(7, 601, 7), *range(20, 601, 20)})
        assert (killed / "calibration.json").read_bytes() == (whole / "calibration.json").read_bytes()
        assert load_checkpoint(killed / "checkpoints" / "last").state["step"] == 600
        assert sorted(p.name for p in (killed / "checkpoints").iterdir()) == ["best", "last"]
