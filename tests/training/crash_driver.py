"""Toy runs for the tests, and a program that trains one while it is killed again and again.

python crash_driver.py chain FOLDER SEED KILLS   forks trainers and kills each with SIGKILL
python crash_driver.py saves FOLDER              forks savers and kills each at one file operation
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.runs import files
from metacortex.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from metacortex.settings import RunSettings, from_mapping
from metacortex.training.run import train


def toy_data(classes: int = 24, examples: int = 10, dims: int = 6, seed: int = 0) -> Dataset:
    """Gaussian clusters: half of the classes to train, a quarter each to validate and test."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 1, dims))
    rows = centres + 0.5 * rng.normal(size=(classes, examples, dims))
    labels = np.repeat(np.arange(classes), examples)
    store = ClassStore.from_arrays(rows.reshape(-1, dims).astype(np.float32), labels, name="clusters")
    cuts = {"train": range(classes // 2), "val": range(classes // 2, 3 * classes // 4)}
    cuts["test"] = range(3 * classes // 4, classes)
    return Dataset(
        "clusters", "half/quarter/quarter", store, {k: ClassView.of(store, list(v)) for k, v in cuts.items()}
    )


def toy_settings(learner: str = "protonet", options: dict | None = None, **training: object) -> RunSettings:
    """A run of a tiny MLP on `toy_data`, with batch norm so that buffers change too."""
    defaults = {"steps": 12, "tasks": 2, "validate_every": 4, "validation_tasks": 4, "log_every": 3}
    return from_mapping(
        {
            "learner": {"name": learner, **(options or {})},
            "backbone": {"name": "mlp", "hidden": [8], "norm": "batch"},
            "data": {"way": 3, "shot": 1, "queries": 2, "train_way": 3, "train_queries": 2},
            "training": {**defaults, "checkpoint_every": 5, **training},
        }
    )


def chain_settings() -> RunSettings:
    """A run long enough to be killed many times, that saves very often."""
    return toy_settings(steps=600, validate_every=20, log_every=7, checkpoint_every=3, weight_decay=0.01)


def _forked(work) -> int:
    """Run in a child process; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


def chain(folder: Path, seed: int, kills: int) -> None:
    """Train, killed ``kills`` times at random moments, then to the end; prints how it went."""
    rng = random.Random(seed)
    data = toy_data()
    killed = finished = 0
    while killed < kills:
        pid = _forked(lambda: train(chain_settings(), folder, resume=True, progress=False, data=data))
        time.sleep(rng.uniform(0.0, 0.35))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            finished += 1
            if os.WEXITSTATUS(status) or finished > kills:
                raise SystemExit(f"a resumed run failed after {killed} kills (status {status})")
    result = train(chain_settings(), folder, resume=True, progress=False, data=data)
    print(json.dumps({"killed": killed, "finished_early": finished, "step": result.step}))


def saves(folder: Path) -> None:
    """Kill a process at its n-th file operation while it saves, for every n; prints the steps found after."""
    found = []
    for n in range(200):
        target = folder / str(n) / "last"
        for step in (1, 2):
            save_checkpoint(target, Checkpoint({"w": torch.full((3,), float(step))}, {}, {"step": step}))
        pid = _forked(lambda target=target, n=n: _save_and_die(target, n))
        _, status = os.waitpid(pid, 0)
        loaded = load_checkpoint(target)
        assert loaded.model["w"].tolist() == [loaded.state["step"]] * 3
        # A process that comes after must be able to save, and find nothing but complete checkpoints.
        save_checkpoint(target, Checkpoint({"w": torch.full((3,), 4.0)}, {}, {"step": 4}))
        assert load_checkpoint(target).state["step"] == 4
        assert sorted(p.name for p in target.parent.iterdir()) == ["last"]
        found.append(loaded.state["step"])
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            print(json.dumps(found))
            return
    raise SystemExit("a save has more than 200 file operations")


def _save_and_die(target: Path, n: int) -> None:
    left = [n]

    def dying(function):
        def wrapped(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)

        return wrapped

    for name in ("rename", "replace", "fsync", "mkdir", "open", "rmdir", "unlink"):
        setattr(os, name, dying(getattr(os, name)))
    files.open = dying(open)  # type: ignore[attr-defined]
    save_checkpoint(target, Checkpoint({"w": torch.full((3,), 3.0)}, {}, {"step": 3}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "chain":
        chain(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        saves(Path(sys.argv[2]))
