"""Meta-steps per second of one process and of several that share the tasks.

    torchrun --nproc-per-node 2 benchmarks/scaling.py
    torchrun --nproc-per-node 2 benchmarks/scaling.py --learner protonet --tasks 8 --json

Within one job, rounds of one process (the others sleep) and of all processes alternate, so that a machine that
is busy at times is so for both. The tasks are noise of the size of Omniglot's, 5-way 1-shot 15 queries, 28×28;
each process has one thread. First the gradients of both are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

import torch

from metacortex.engine.distributed import Ranks, joined
from metacortex.engine.gradient import meta_gradient
from metacortex.learners.base import Learner
from metacortex.learners.registry import make_learner
from metacortex.settings import TrainingSettings
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs
from metacortex.training.optimizer import make_optimizer, outer_step


def noise(count: int) -> list[Task]:
    """Tasks like Omniglot's, made of noise."""
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    return [blobs(g, way=5, shot=1, queries=15, shape=(1, 28, 28)).to(torch.float32) for g in generators]


class Case:
    """A learner, its tasks and its optimiser, the same in every process."""

    def __init__(self, learner: Learner, tasks: list[Task], strategy: str) -> None:
        self.learner, self.tasks, self.strategy = learner.train(), tasks, strategy
        self.optimizer = make_optimizer(learner, TrainingSettings())
        assert self.optimizer is not None

    def gradient(self, ranks: Ranks) -> dict[str, torch.Tensor]:
        """The meta-gradient, shared by these processes."""
        mine = [self.tasks[i] for i in ranks.share(len(self.tasks))]
        batch = stack_tasks(mine) if mine else None
        return meta_gradient(self.learner, batch, strategy=self.strategy, ranks=ranks)[0]

    def seconds(self, ranks: Ranks, steps: int) -> float:
        """Seconds per meta-step."""
        began = time.perf_counter()
        for _ in range(steps):
            outer_step(self.learner, self.optimizer, self.gradient(ranks), lr=1e-5)
        return (time.perf_counter() - began) / steps


def measure(case: Case, ranks: Ranks, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds per step of each round, of one process and of all; and of the exchange alone."""
    found: dict[str, list[float]] = {"one": [], "all": [], "exchange": []}
    flat = torch.zeros(sum(p.numel() for p in case.learner.parameters()), dtype=torch.float64)
    for repeat in range(-1, rounds):  # the first is a warm-up
        one = case.seconds(Ranks(), steps) if ranks.first else 0.0
        ranks.gather(None)  # the others wait here, asleep
        together = case.seconds(ranks, steps)
        began = time.perf_counter()
        ranks.sum(flat)
        if repeat >= 0:
            for name, took in (("one", one), ("all", together), ("exchange", time.perf_counter() - began)):
                found[name].append(took)
    return found


def gap(case: Case, ranks: Ranks) -> float:
    """Largest difference between the gradient of one process and that of all, relative to the largest entry."""
    alone, shared = case.gradient(Ranks()), case.gradient(ranks)
    largest = max(float(g.abs().max()) for g in alone.values())
    return max(float((shared[name] - g).abs().max()) for name, g in alone.items()) / largest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learner", default="maml")
    parser.add_argument("--tasks", type=int, default=16, help="tasks per meta-batch")
    parser.add_argument("--inner-steps", type=int, default=5, help="of learners with an inner loop")
    parser.add_argument("--strategy", default="loop")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1, help="meta-steps per round")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    inner = (
        {} if options.learner in ("protonet", "r2d2", "matching", "relation") else {"inner_steps": options.inner_steps}
    )
    with joined() as ranks:
        torch.manual_seed(0)
        learner = make_learner(options.learner, input_shape=(1, 28, 28), way=5, **inner)
        case = Case(learner, noise(options.tasks), options.strategy)
        differ = gap(case, ranks)
        found = measure(case, ranks, options.rounds, options.steps)
    if not ranks.first:
        return
    ratios = sorted(one / together for one, together in zip(found["one"], found["all"], strict=True))
    result = {
        "benchmark": "scaling",
        "learner": options.learner,
        "tasks": options.tasks,
        "strategy": options.strategy,
        **inner,
        "processes": ranks.size,
        "gap": differ,
        "seconds": {name: [round(x, 5) for x in values] for name, values in found.items()},
        "speedup": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
        "rounds": options.rounds,
        "load": [round(x, 2) for x in os.getloadavg()],
        "machine": platform.processor() or platform.machine(),
    }
    if options.json:
        print(json.dumps(result))
        return
    one, together, exchange = (1000 * statistics.median(found[name]) for name in ("one", "all", "exchange"))
    print(
        f"{options.learner}, {options.tasks} tasks, {options.strategy}: {one:.0f} ms a step with 1 process, "
        f"{together:.0f} ms with {ranks.size}: {result['speedup']:.2f} times as fast (median of "
        f"{options.rounds} rounds; {result['lowest']:.2f} to {result['highest']:.2f}); exchange {exchange:.1f} ms; "
        f"gradients equal to {differ:.0e}"
    )


if __name__ == "__main__":
    main()
