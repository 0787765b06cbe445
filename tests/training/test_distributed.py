"""Runs that several processes share: the same run for any number of them, killed or stopped and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metacortex.runs.folder import RunFolder
from metacortex.runs.log import read_log, without_timing
from training.rank_driver import SIZES

DRIVER = Path(__file__).with_name("rank_driver.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of all scenarios, and when each process of them ended and how."""
    folder = tmp_path_factory.mktemp("ranks")
    path = os.pathsep.join([str(DRIVER.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def answers(played: tuple[Path, dict[str, Any]], scenario: str) -> list[dict[str, Any]]:
    files = [played[0] / scenario / f"{rank}.json" for rank in range(SIZES[scenario])]
    return [json.loads(path.read_text()) for path in files]


def gap(first: dict[str, Any], second: dict[str, Any]) -> float:
    assert first["weights"].keys() == second["weights"].keys()
    return max(
        float(np.abs(np.asarray(x) - np.asarray(second["weights"][name])).max(initial=0.0))
        for name, x in first["weights"].items()
    )


def log(played: tuple[Path, dict[str, Any]], scenario: str) -> list[dict[str, Any]]:
    return without_timing(read_log(played[0] / scenario / "run" / "log.jsonl"))


def test_the_same_run_for_any_number_of_processes(played) -> None:
    (alone,) = answers(played, "one")
    for answer in answers(played, "two"):
        assert answer["step"] == alone["step"] == 12
        assert gap(answer, alone) <= 1e-5
    for line, expected in zip(log(played, "two"), log(played, "one"), strict=True):
        assert line == pytest.approx(expected, abs=1e-5)
    moved = abs(np.asarray(alone["weights"]["body.model.layers.1.running_mean"])).max()
    assert moved > 0.01, "the running statistics are those of all tasks"


def test_random_numbers_belong_to_the_task(played) -> None:
    (alone,) = answers(played, "dropout_one")
    for answer in answers(played, "dropout_four"):
        assert gap(answer, alone) <= 1e-5


def test_only_process_0_writes_and_talks(played) -> None:
    folder = played[0] / "dropout_four"
    assert {p.name for p in folder.iterdir()} == {"run", *(f"{rank}.json" for rank in range(4))}
    assert RunFolder(folder / "run").info()["kind"] == "metacortex run"
    said = [answer["said"] for answer in answers(played, "dropout_four")]
    assert len(said[0]) == 1
    assert "1 of 4 processes have nothing to do: 'protonet' learns from 3 task(s) a step" in said[0][0]
    assert said[1:] == [[], [], []]


def test_a_budget_in_minutes_ends_for_all_at_once(played) -> None:
    first, second = answers(played, "time")
    assert first["step"] == second["step"] > 2
    assert first["seconds"] == second["seconds"] >= 0.36
    assert gap(first, second) == 0.0


def test_a_killed_process_ends_the_run_with_a_clear_message(played) -> None:
    (code, killed_at), (left, ended_at) = (played[1]["killed"][rank] for rank in "10")
    assert (code, left) == (-9, 0)
    assert ended_at - killed_at < 5
    assert not (played[0] / "killed" / "before_1.json").exists()
    survivor = json.loads((played[0] / "killed" / "before_0.json").read_text())
    assert survivor["error"].startswith("another process of this run was killed or cannot be reached (")
    assert "the run is kept as last saved: start the same command again with --resume" in survivor["error"]


def test_a_killed_run_is_resumed(played) -> None:
    assert 0 < played[1]["killed_step"] < 12
    (alone,) = answers(played, "one")
    assert [answer["step"] for answer in answers(played, "killed")] == [12, 12]
    assert max(gap(answer, alone) for answer in answers(played, "killed")) <= 1e-5


def test_a_signal_to_any_process_stops_all_after_the_same_step(played) -> None:
    before = [json.loads((played[0] / "stopped" / f"before_{rank}.json").read_text()) for rank in range(2)]
    assert [answer["interrupted"] for answer in before] == [True, True]
    assert before[0]["step"] == before[1]["step"] < 12
    (alone,) = answers(played, "one")
    resumed = answers(played, "stopped")
    assert [answer["step"] for answer in resumed] == [12, 12]
    assert max(gap(answer, alone) for answer in resumed) <= 1e-5


def test_what_one_process_cannot_do_is_said_by_all(played) -> None:
    first, second = answers(played, "other_data")
    assert first["error"] == second["error"]
    assert first["error"].startswith("process 1 of 2 has other data than process 0")
    first, second = answers(played, "taken")
    assert "not empty and holds no run" in first["error"]
    assert second["error"] == f"process 0 of this run cannot go on: {first['error']}"


def test_exchange(played) -> None:
    found = answers(played, "primitives")
    assert [answer["rank"] for answer in found] == [0, 1, 2]
    for answer in found:
        assert answer["sum"] == [3.0, 3.0]
        assert answer["told"] == "first"
        assert answer["gathered"] == [0, 10, 20]
        assert answer["sent"] == [[[0.0, 0.0]] * 3, 0]
        assert answer["times"][0] <= min(answer["times"][1:])


def test_a_process_without_tasks_has_the_same_gradient(played) -> None:
    found = answers(played, "shares")
    assert sorted(answer["tasks"] for answer in found) == [0, 1, 1]
    for answer in found:
        assert answer["names"]
        assert answer["gap"] < 1e-12
        assert abs(answer["loss"]) < 1e-12


def test_torchrun(tmp_path: Path) -> None:
    """The command itself; what it says comes from one process."""
    out = tmp_path / "run"
    rng = np.random.default_rng(0)
    for kind in range(25):
        (tmp_path / "shapes" / f"shape{kind}").mkdir(parents=True)
        for drawn in range(6):
            pixels = rng.integers(0, 10 * kind + 10, (10, 10), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shapes" / f"shape{kind}" / f"{drawn}.png")
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "metacortex", "train", "protonet"]
    sizes = ["--steps", "3", "--tasks", "3", "--way", "2", "--train-way", "3", "--queries", "2", "--size", "10"]
    net = ["--backbone", "mlp", "--set", "backbone.hidden=8", "--set", "training.validation_tasks=2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "--data", str(tmp_path / "shapes"), *sizes, *net, "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["command"], answer["steps"], answer["finished"]) == ("train", 3, True)
    assert len([line for line in done.stderr.splitlines() if "step 3" in line]) == 1
    assert RunFolder(out).info()["machine"]["processes"] == 2
