"""The memory of a meta-step is known before it is taken."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metacortex.engine.footprint import PeakMemory, estimate_footprint
from metacortex.engine.gradient import meta_gradient
from metacortex.engine.memory import keep_freed_memory, overhead
from metacortex.learners.base import Learner
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.registry import make_learner
from metacortex.nn.classifier import Classifier
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs
from metacortex.tree import tree_leaves

BODY = {"backbone_options": {"channels": 4, "blocks": 2}, "input_shape": (1, 6, 6), "way": 3}


def drawn(count: int = 3, side: int = 6, **sizes: int) -> Task:
    tasks = [blobs(torch.Generator().manual_seed(i), shape=(1, side, side), **sizes) for i in range(count)]
    return stack_tasks(tasks).to(torch.float32)


def counted(learner: Learner, batch: Task, **options) -> int:
    with PeakMemory() as memory:
        meta_gradient(learner, batch, **options)
    return memory.peak


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    with PeakMemory() as memory:
        kept = torch.zeros(1000)
        for _ in range(3):
            kept = kept + 1  # beside the one before
        kept[:10].add_(1)  # makes no tensor
    assert memory.peak == 8000


@pytest.mark.parametrize(
    ("name", "options", "strategy"),
    [
        ("maml", {"inner_steps": 6, "unroll": "graph"}, "loop"),  # more steps than are gone through
        ("maml", {"inner_steps": 6, "unroll": "steps"}, "vmap"),
        ("maml_pp", {"inner_steps": 2}, "loop"),
        ("protonet", {}, "vmap"),
    ],
)
def test_the_estimate_is_what_is_counted(name: str, options: dict, strategy: str) -> None:
    learner, batch = make_learner(name, **BODY, **options).train(), drawn(2)
    found = estimate_footprint(learner, batch, strategy=strategy)
    assert found.traced
    weights = sum(p.numel() for p in learner.parameters())
    real = counted(learner, drawn(1) if strategy == "loop" else batch, strategy=strategy)
    assert found.computing == pytest.approx(real, rel=0.06)
    assert counted(learner, batch, strategy=strategy) < 1.1 * found.computing + found.outer
    assert found.batch == sum(x.numel() * x.element_size() for x in tree_leaves(batch) if isinstance(x, Tensor))
    assert found.outer == 24 * weights


def test_chunks_and_threads() -> None:
    learner, batch = MAML(nn.Sequential(nn.Flatten(), nn.Linear(36, 3))).train(), drawn(8, queries=20)
    whole = estimate_footprint(learner, batch, strategy="vmap").computing
    assert estimate_footprint(learner, batch, strategy="vmap", micro_tasks=2).computing < 0.4 * whole
    threads = estimate_footprint(learner, batch, strategy="vmap", workers=2).computing
    assert 0.9 * whole < threads < 1.3 * whole
    alone = estimate_footprint(learner, batch).computing
    assert estimate_footprint(learner, batch, workers=4).computing > 4 * alone
    assert estimate_footprint(learner, batch, micro_queries=15).computing < 0.7 * alone
    assert estimate_footprint(learner, batch, strategy="compile").computing == alone


class Looking(MAML):
    """Decides by the values of tensors."""

    def loss(self, task):
        if float(task.query.inputs.detach().sum()) == 0.5:
            return super().loss(replace(task, query=task.support))
        return super().loss(task)


def test_what_needs_values_is_computed_for_one_task() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.Linear(64, 3))
    learner, batch = Looking(net).train(), drawn()
    state = torch.get_rng_state()
    found = estimate_footprint(learner, batch)
    assert not found.traced
    assert found.computing == pytest.approx(estimate_footprint(MAML(net).train(), batch).computing, rel=0.1)
    assert torch.equal(torch.get_rng_state(), state)


def resident() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0]: int(words[1]) * 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:")}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a process's peak")
def test_the_process_takes_what_is_expected_within_a_factor_of_one_and_a_half() -> None:
    """Real bytes of the process, for 100 MiB of tensors."""
    keep_freed_memory(False)
    torch.manual_seed(0)
    net = Classifier(Conv4((1, 28, 28), Conv4Settings(channels=32, blocks=2)), 5)
    learner, batch = MAML(net, 0.1, 2, unroll="graph").train(), drawn(1, 28, way=5, shot=8, queries=90)
    expected = overhead(kept=False) * estimate_footprint(learner, batch).computing
    assert expected > 100e6
    ctypes.CDLL(None).malloc_trim(0)  # what other tests freed and the process kept would be taken again unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()["VmRSS:"]
    meta_gradient(learner, batch)
    taken = resident()["VmHWM:"] - before
    assert expected / 1.5 < taken < 1.5 * expected
