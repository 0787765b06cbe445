"""Seconds of training until a validation accuracy is reached, beside other libraries.

    python -m benchmarks.side_by_side.accuracy [--learner maml] [--steps 500 | --minutes 3] [--out FOLDER]

Omniglot (glyphs where METACORTEX_DATA is not set), 5-way 1-shot, 15 queries, Conv4, the same initial weights, tasks and
Adam for all; every contender in a process of its own, taking turns block by block. All draw tasks with metacortex.
Accuracy is measured between the blocks, on fixed validation tasks and off the clock. How long 10,000 steps take follows
from the seconds per step; nobody trained that long.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.side_by_side.case import Batch, Case, Contender, Gradients
from benchmarks.side_by_side.cases import image_batch
from benchmarks.side_by_side.libraries import LIBRARIES
from benchmarks.side_by_side.networks import conv4, own_conv4
from benchmarks.side_by_side.ours import learner_of, own_model, task_of
from benchmarks.side_by_side.plain import PLAIN
from benchmarks.side_by_side.processes import cores, said
from metacortex.data.sources import load_dataset
from metacortex.engine.gradient import meta_gradient
from metacortex.engine.memory import keep_freed_memory
from metacortex.evaluation.evaluate import evaluate
from metacortex.tasks.episodes import Episodes, EpisodeSpec

__all__ = ["LEARNERS", "Curve", "table"]

TASKS, LR = 4, 3e-3

LEARNERS = {
    name: Case(
        name, partial(conv4, 1, 28), partial(image_batch, TASKS, 1, 28, 1, 15), own=partial(own_conv4, 1, 28), **choices
    )
    for name, choices in {
        "maml": {"learner": "maml", "inner_lr": 0.4, "steps": 1},
        "protonet": {"learner": "protonet", "steps": 0},
    }.items()
}

OURS, BF16 = "metacortex", "metacortex bf16"
PEERS = {c.name: c for c in (*PLAIN, *LIBRARIES)}
DEFAULT = (OURS, "learn2learn", "learn2learn, as installed", "autograd loop")


@dataclass
class Curve:
    """The training of one contender: at each evaluation steps, seconds of training, accuracy and interval (0–1)."""

    contender: str
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    ci95: list[float] = field(default_factory=list)
    reason: str | None = None

    def reached(self, accuracy: float) -> tuple[int, float] | None:
        """Steps and seconds at the first evaluation with at least this accuracy."""
        at = next((i for i, a in enumerate(self.accuracy) if a >= accuracy), None)
        return None if at is None else (self.steps[at], self.seconds[at])


class _Training:
    """One contender's network, optimizer and tasks, in its own process."""

    def __init__(self, case: Case, name: str, seed: int) -> None:
        ours = name.startswith(OURS)
        torch.set_num_threads(1 if ours else cores())
        if not name.endswith("as installed"):
            keep_freed_memory()
        torch.manual_seed(seed)
        self.case, self.done, self.seconds = case, 0, 0.0
        self.train, self.validation = _episodes(seed)
        b = case.batch()
        self.batch = Batch(*(x.clone() for x in (b.support, b.support_targets, b.query, b.query_targets)))
        model = case.network()
        self.step, self.parameters = (
            _ours(case, model, self.batch, name) if ours else _peer(case, model, self.batch, name)
        )
        self.adam = torch.optim.Adam(self.parameters.values(), LR)

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        for i in range(self.done, self.done + steps):
            drawn = self.train.batch(range(TASKS * i, TASKS * (i + 1)))
            self.batch.support.copy_(drawn.support.inputs)
            self.batch.support_targets.copy_(drawn.support.targets)
            self.batch.query.copy_(drawn.query.inputs)
            self.batch.query_targets.copy_(drawn.query.targets)
            gradient = self.step()
            for n, p in self.parameters.items():
                p.grad = gradient.get(n)
            self.adam.step()
            self.adam.zero_grad()
        self.done += steps
        self.seconds += time.perf_counter() - began
        return self.seconds

    def score(self, tasks: int) -> tuple[float, float]:
        learner = learner_of(self.case, own_model(self.case, self._network()))
        result = evaluate(learner, self.validation, tasks=tasks)
        return result.mean, result.ci95

    def _network(self) -> nn.Module:
        model = self.case.network()
        model.load_state_dict({n: p.detach() for n, p in self.parameters.items()}, strict=False)
        return model


def _episodes(seed: int) -> tuple[Episodes, Episodes]:
    data = load_dataset("omniglot" if os.environ.get("METACORTEX_DATA") else "glyphs")
    spec = EpisodeSpec(5, 1, 15)
    return (
        Episodes(data.split("train"), spec, seed=seed, split="train"),
        Episodes(data.split("val"), spec, seed=0, split="val"),
    )


def _ours(case: Case, model: nn.Module, batch: Batch, name: str) -> tuple[Callable[[], Gradients], dict[str, Tensor]]:
    learner, tasks = learner_of(case, own_model(case, model)).train(), task_of(batch)
    added = "backbone." if case.learner == "protonet" else ""

    def short(named: Any) -> dict[str, Tensor]:
        return {added + n.removeprefix("body.model."): x for n, x in named}

    def step() -> Gradients:
        precision = "bf16" if name == BF16 else "float32"
        return short(meta_gradient(learner, tasks, workers=cores(), precision=precision)[0].items())

    return step, short(learner.named_parameters())


def _peer(case: Case, model: nn.Module, batch: Batch, name: str) -> tuple[Callable[[], Gradients], dict[str, Tensor]]:
    contender: Contender = PEERS[name]
    return contender.prepare(case, model, batch), dict(model.named_parameters())


_training: _Training | None = None


def _begin(case: Case, name: str, seed: int) -> None:
    global _training
    _training = _Training(case, name, seed)


def _run(steps: int) -> float:
    assert _training is not None
    return _training.run(steps)


def _score(tasks: int) -> tuple[float, float]:
    assert _training is not None
    return _training.score(tasks)


def train(
    case: Case, names: list[str], *, steps: int, minutes: float, every: int, tasks: int, seed: int = 0
) -> list[Curve]:
    """Train all in turns, ``every`` steps at a time, each until its own ``steps`` or ``minutes`` are over."""
    fork = multiprocessing.get_context("fork")
    pools = {name: ProcessPoolExecutor(1, mp_context=fork) for name in names}
    curves = {name: Curve(name) for name in names}
    for name, pool in pools.items():
        try:
            pool.submit(_begin, case, name, seed).result()
        except Exception as error:  # whatever a library raises is its answer
            curves[name].reason = said(error)
    while True:
        going = [c for c in curves.values() if c.reason is None and not _over(c, steps, minutes)]
        if not going:
            break
        for curve in going:
            pool = pools[curve.contender]
            curve.seconds.append(pool.submit(_run, every).result())
            curve.steps.append(every * len(curve.seconds))
            mean, ci95 = pool.submit(_score, tasks).result()
            curve.accuracy.append(mean)
            curve.ci95.append(ci95)
            print(
                f"{case.name}, {curve.contender}: {curve.steps[-1]} steps, {curve.seconds[-1]:.1f} s, "
                f"accuracy {100 * mean:.1f} ± {100 * ci95:.1f} %",
                flush=True,
            )
    for pool in pools.values():
        pool.shutdown()
    return list(curves.values())


def _over(curve: Curve, steps: int, minutes: float) -> bool:
    if not curve.seconds:
        return False
    return curve.seconds[-1] >= 60 * minutes if minutes else curve.steps[-1] >= steps


def table(curves: list[Curve]) -> str:
    """Markdown: seconds until the highest whole percent that all have reached, and for as many steps as they took."""
    ran = [c for c in curves if c.reason is None]
    common = int(100 * min((max(c.accuracy) for c in ran), default=0))
    lines = [
        f"| contender | s to {common} % | steps to it | steps | s | accuracy | ms per step "
        "| 10,000 steps, from the rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in curves:
        if c.reason is not None:
            lines.append(f"| {c.contender} | {c.reason} |" + " – |" * 6)
            continue
        at = c.reached(common / 100)
        rate = c.seconds[-1] / c.steps[-1]
        reached = "– | –" if at is None else f"{at[1]:.1f} | {at[0]}"
        lines.append(
            f"| {c.contender} | {reached} | {c.steps[-1]} | {c.seconds[-1]:.1f} "
            f"| {100 * c.accuracy[-1]:.1f} ± {100 * c.ci95[-1]:.1f} % | {1000 * rate:.0f} "
            f"| {10_000 * rate / 60:.0f} min |"
        )
    return "\n".join(lines) + "\n"


def _picture(path: Path, curves: list[Curve]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for c in curves:
        axes.errorbar(c.seconds, [100 * a for a in c.accuracy], [100 * x for x in c.ci95], label=c.contender, capsize=2)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learner", choices=sorted(LEARNERS), default="maml")
    parser.add_argument("--contender", action="append", default=[], help=f"{OURS}, {BF16} or one of {', '.join(PEERS)}")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=0.0, help="of training for each, instead of steps")
    parser.add_argument("--every", type=int, default=50, help="steps of a turn, after which accuracy is measured")
    parser.add_argument("--tasks", type=int, default=200, help="validation tasks")
    parser.add_argument("--inner-steps", type=int, help="K of MAML")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for LEARNER.json, LEARNER.md and LEARNER.png")
    options = parser.parse_args()
    case = LEARNERS[options.learner]
    if options.inner_steps and case.learner == "maml":
        case = replace(case, steps=options.inner_steps)
    curves = train(
        case, options.contender or list(DEFAULT), steps=options.steps, minutes=options.minutes,
        every=options.every, tasks=options.tasks, seed=options.seed,
    )  # fmt: skip
    print(table(curves), end="")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        content = json.dumps([asdict(c) for c in curves], indent=1)
        (options.out / f"{options.learner}.json").write_text(content + "\n", encoding="utf-8")
        (options.out / f"{options.learner}.md").write_text(table(curves), encoding="utf-8")
        _picture(options.out / f"{options.learner}.png", [c for c in curves if c.reason is None])


if __name__ == "__main__":
    main()
