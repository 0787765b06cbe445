"""The meta-gradient of a batch, evaluation, and what step-by-step unrolling saves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metacortex.engine.gradient import evaluate_tasks, meta_gradient, strategy_names
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.nn.classifier import Classifier
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.task import Task, stack_tasks
from metacortex.testing import PeakMemory, blobs


def tasks(count: int = 3) -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6)) for i in range(count)]


def conv(**options) -> nn.Module:
    torch.manual_seed(0)
    net = Classifier(Conv4((1, 6, 6), Conv4Settings(channels=4, blocks=2, **options)), 3).double()
    nn.init.normal_(net.head.weight)
    return net


@pytest.mark.parametrize("strategy", strategy_names())
def test_mean_and_sum(strategy: str) -> None:
    learner, batch = ProtoNet(conv(), norm="running"), stack_tasks(tasks())
    total, summed = meta_gradient(learner, batch, strategy=strategy, reduction="sum")
    mean, averaged = meta_gradient(learner, batch, strategy=strategy)
    torch.testing.assert_close({k: v / 3 for k, v in total.items()}, mean)
    torch.testing.assert_close(summed.loss / 3, averaged.loss)
    assert averaged.prediction.shape == (3, 6, 3)
    assert averaged.metrics["accuracy"].shape == (3,)


@pytest.mark.parametrize("strategy", strategy_names())
def test_buffers_are_averaged_over_the_tasks(strategy: str) -> None:
    learner = ProtoNet(conv(), norm="running")
    _, outcome = meta_gradient(learner, stack_tasks(tasks()), strategy=strategy)
    singles = [learner.loss(task).buffers for task in tasks()]
    assert set(outcome.buffers) == set(singles[0])
    assert len(singles[0]) == 4
    for name, value in outcome.buffers.items():
        torch.testing.assert_close(value, torch.stack([b[name] for b in singles]).mean(0))


@pytest.mark.parametrize("unroll", ["graph", "steps"])
@pytest.mark.parametrize("options", [{"norm": "group"}, {"reduction": "stride"}, {"norm": "none"}])
def test_channels_last_weights_under_vmap(options: dict, unroll: str) -> None:
    learner, batch = MAML(conv(**options), 0.1, 2, unroll=unroll), stack_tasks(tasks(2))
    expected, _ = meta_gradient(learner, batch)
    got, _ = meta_gradient(learner, batch, strategy="vmap")
    torch.testing.assert_close({k: got[k] for k in expected}, expected, rtol=1e-9, atol=1e-11)


def test_wrong_names_and_nothing_to_learn() -> None:
    batch = stack_tasks(tasks(1))
    with pytest.raises(SettingsError, match="did you mean 'loop'"):
        meta_gradient(ProtoNet(conv()), batch, strategy="lop")
    with pytest.raises(SettingsError, match="did you mean 'mean'"):
        meta_gradient(ProtoNet(conv()), batch, reduction="means")  # type: ignore[arg-type]
    with pytest.raises(LearnerError, match="'nearest_neighbour' has no parameters"):
        meta_gradient(NearestNeighbour(), batch)


def test_evaluation_scores_each_task() -> None:
    learner = ProtoNet(conv()).train()
    outcome = evaluate_tasks(learner, stack_tasks(tasks()))
    assert outcome.loss.shape == outcome.metrics["accuracy"].shape == (3,)
    assert learner.training
    assert not outcome.loss.requires_grad
    alone = evaluate_tasks(learner, stack_tasks(tasks()[1:2]))
    torch.testing.assert_close(alone.loss[0], outcome.loss[1])


def test_a_failed_evaluation_gives_the_mode_back() -> None:
    learner = MAML(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double()).train()
    with pytest.raises(LearnerError, match="2 outputs, the task has 3 classes"):
        evaluate_tasks(learner, stack_tasks(tasks(1)))
    assert learner.training


def peak(unroll: str, steps: int) -> int:
    learner, batch = MAML(conv(), 0.1, steps, unroll=unroll), stack_tasks(tasks(1))
    with PeakMemory() as memory:
        meta_gradient(learner, batch)
    return memory.peak


def test_step_by_step_unrolling_keeps_fast_weights_only() -> None:
    weights = sum(p.numel() * p.element_size() for p in conv().parameters())
    grown = peak("steps", 8) - peak("steps", 2)
    assert grown <= 6 * weights
    assert peak("graph", 8) - peak("graph", 2) > 10 * grown
