"""Dropout in a user's module: drawn anew in training, reproducible from the random state, off in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metacortex.engine.gradient import evaluate_tasks, meta_gradient
from metacortex.learners.gradient.maml import MAML
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap


def learner(unroll: str = "graph") -> MAML:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)).double()
    return MAML(net, 0.3, 3, unroll=unroll)


def batch() -> Task:
    return stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(3, 2, 2)) for i in range(2)])


def gradient(seed: int, unroll: str = "graph", strategy: str = "loop") -> torch.Tensor:
    model = learner(unroll)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gradients, _ = meta_gradient(model, batch(), strategy=strategy)
    return torch.cat([g.flatten() for g in gradients.values()])


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
@pytest.mark.parametrize("unroll", ["graph", "steps"])
def test_reproducible_from_the_random_state(unroll: str, strategy: str) -> None:
    assert torch.equal(gradient(1, unroll, strategy), gradient(1, unroll, strategy))
    assert not torch.equal(gradient(1, unroll, strategy), gradient(2, unroll, strategy))


def test_recomputed_steps_drop_the_same_units() -> None:
    torch.testing.assert_close(gradient(1, "steps"), gradient(1, "graph"), rtol=1e-12, atol=1e-14)


def test_evaluation_drops_nothing() -> None:
    model = learner()
    first, second = evaluate_tasks(model, batch()), evaluate_tasks(model, batch())
    assert torch.equal(first.loss, second.loss)
    model.eval()
    gradients, _ = meta_gradient(model, batch(), reduction="sum")
    tasks = [blobs(torch.Generator().manual_seed(i), shape=(3, 2, 2)) for i in range(2)]
    assert finite_difference_gap(model, tasks, gradients) < 1e-7
