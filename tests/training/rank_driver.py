"""Runs of several processes for the tests: real processes, joined by gloo.

python rank_driver.py FOLDER    plays every scenario; each process leaves FOLDER/SCENARIO/RANK.json
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metacortex.engine.distributed import Ranks, joined
from metacortex.engine.gradient import meta_gradient
from metacortex.errors import MetacortexError
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.nn.mlp import MLP, MLPSettings
from metacortex.runs.checkpoint import load_checkpoint
from metacortex.task import stack_tasks
from metacortex.testing import blobs
from metacortex.training import run as training_run
from metacortex.training.run import train
from training.crash_driver import toy_data, toy_settings

SIZES = {"one": 1, "two": 2, "dropout_one": 1, "dropout_four": 4, "time": 2, "stopped": 2, "killed": 2}
SIZES |= {"other_data": 2, "taken": 2, "primitives": 3, "shares": 3}
"""Scenario -> number of processes."""


class Mortal(ProtoNet):
    """Sends its process a signal in a training task."""

    def __init__(self, rank: int = -1, number: int = 0, after: int = 0) -> None:
        torch.manual_seed(0)
        super().__init__(MLP((6,), MLPSettings(hidden=(8,), norm="batch")), norm="running")
        self.rank, self.number, self.left = rank, number, after

    def loss(self, task):
        self.left -= self.training
        if self.left == 0 and int(os.environ.get("RANK", "0")) == self.rank:
            os.kill(os.getpid(), self.number)
        return super().loss(task)


def with_dropout() -> ProtoNet:
    torch.manual_seed(0)
    return ProtoNet(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 8)))


def run(ranks: Ranks, folder: Path, *, data: int = 0, learner: Any = None, **training: Any) -> dict[str, Any]:
    """Train three tasks a step, a number that two processes cannot share evenly."""
    settings = toy_settings(**{"tasks": 3, "schedule": "constant", **training})
    out = folder / f"run{ranks.rank if ranks.rank else ''}"  # the others have no folder
    resume = (out / "run.json").exists()
    result = train(settings, out, resume=resume, progress=False, data=toy_data(seed=data), learner=learner, ranks=ranks)
    weights = {name: x.tolist() for name, x in result.learner.state_dict().items()}
    return {"step": result.step, "interrupted": result.interrupted, "weights": weights, "seconds": result.seconds}


def primitives(ranks: Ranks, folder: Path) -> dict[str, Any]:
    own = {"a": torch.full((2, 3), float(ranks.rank)).T, "b": torch.tensor(ranks.rank)}
    ranks.send(own)
    order: list[float] = []
    with ranks.in_turn():
        time.sleep(0 if ranks.rank else 0.2)
        order.append(time.monotonic())
    return {
        "rank": ranks.rank,
        "sum": ranks.sum(torch.tensor([1.0, ranks.rank])).tolist(),
        "told": ranks.tell(lambda: "first" if ranks.first else "never"),
        "gathered": ranks.gather(ranks.rank * 10),
        "sent": [own["a"].tolist(), int(own["b"])],
        "times": ranks.gather(order[0]),
    }


def shares(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A meta-gradient of two tasks by three processes, beside that of one."""
    tasks = [blobs(torch.Generator().manual_seed(i), shape=(6,)) for i in range(2)]
    torch.manual_seed(0)
    learner = MAML(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double(), norm="per-step").train()
    whole, expected = meta_gradient(learner, stack_tasks(tasks), strategy="vmap")
    mine = [tasks[i] for i in ranks.share(2)]
    batch = stack_tasks(mine) if mine else None
    gradient, outcome = meta_gradient(learner, batch, strategy="vmap", ranks=ranks)
    gaps = [(gradient[n] - g).abs().max() for n, g in whole.items()]
    gaps += [(outcome.buffers[n] - x).abs().max() for n, x in expected.buffers.items()]
    names = gradient.keys() == whole.keys() and outcome.buffers.keys() == expected.buffers.keys()
    return {"tasks": len(mine), "names": names, "gap": float(max(gaps)), "loss": float(outcome.loss - expected.loss)}


def other_data(ranks: Ranks, folder: Path) -> dict[str, Any]:
    return run(ranks, folder, data=ranks.rank)


def taken(ranks: Ranks, folder: Path) -> dict[str, Any]:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "thesis.tex").write_text("mine")
    return run(ranks, folder)


SCENARIOS: dict[str, Callable[[Ranks, Path], dict[str, Any]]] = {
    "dropout_one": lambda ranks, folder: run(ranks, folder, learner=with_dropout()),
    "dropout_four": lambda ranks, folder: run(ranks, folder, learner=with_dropout()),
    "time": lambda ranks, folder: run(ranks, folder, steps=0, minutes=0.006, schedule="cosine"),
    "stopped": lambda ranks, folder: run(ranks, folder, learner=Mortal(1, signal.SIGTERM, 5)),
    "killed": lambda ranks, folder: run(ranks, folder, learner=Mortal(1, signal.SIGKILL, 12), checkpoint_every=2),
    "other_data": other_data,
    "taken": taken,
    "primitives": primitives,
    "shares": shares,
}
"""Others train `Mortal`, which lives."""


def play(scenario: str, folder: Path, environment: dict[str, str]) -> None:
    """One process of a scenario."""
    os.environ |= environment
    act = SCENARIOS.get(scenario, lambda ranks, folder: run(ranks, folder, learner=Mortal()))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with joined() as ranks:
                answer = act(ranks, folder)
        except MetacortexError as error:
            answer = {"error": str(error)}
    answer["said"] = [str(w.message) for w in said]
    (folder / f"{environment['RANK']}.json").write_text(json.dumps(answer))


def together(scenario: str, folder: Path, size: int) -> dict[str, Any]:
    """All processes of a scenario; returns when each ended, and how."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(size):
        pid = os.fork()
        if not pid:
            shared = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
            try:
                play(scenario, folder, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)})
            except BaseException as error:
                print(scenario, rank, repr(error), file=sys.stderr, flush=True)
                os._exit(3)
            os._exit(0)
        pids.append(pid)
    ended = {}
    for _ in pids:
        pid, status = os.wait()
        ended[pids.index(pid)] = [os.waitstatus_to_exitcode(status), time.time()]
    return ended


if __name__ == "__main__":
    torch.set_num_threads(1)
    training_run._finish = lambda *arguments, **options: None  # curves and calibration: the same as of one process
    root = Path(sys.argv[1])
    primitives(Ranks(), root)
    shares(Ranks(), root)
    endings: dict[str, Any] = {}
    for name, size in SIZES.items():
        if size == 1:
            # Not forked: what is imported on the way serves the others.
            (root / name).mkdir()
            play(name, root / name, {"RANK": "0", "WORLD_SIZE": "1"})
        else:
            endings[name] = together(name, root / name, size)
    endings["killed_step"] = load_checkpoint(root / "killed" / "run" / "checkpoints" / "last").state["step"]
    for name in ("killed", "stopped"):
        SCENARIOS.pop(name)  # now the learner lives
        for path in (root / name).glob("?.json"):
            path.rename(path.with_name(f"before_{path.name}"))
        together(name, root / name, 2)
    print(json.dumps(endings))
