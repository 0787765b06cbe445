"""Proto-MAML: a prototypical network before its first step, of any way with one set of weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import LearnerError
from metacortex.learners.gradient.proto_maml import ProtoMAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.registry import make_learner
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs, check_any_way, finite_difference_gap


def backbone(norm: str = "batch") -> nn.Module:
    torch.manual_seed(0)
    return Conv4((1, 6, 6), Conv4Settings(channels=4, blocks=2, norm=norm)).double()


def tasks() -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6)) for i in range(2)]


@pytest.mark.parametrize("norm", ["support", "query-batch"])
def test_without_steps_it_is_a_prototypical_network(norm: str) -> None:
    ours, theirs = ProtoMAML(backbone(), inner_steps=0, norm=norm), ProtoNet(backbone(), norm=norm)
    for mode in (True, False):
        if mode and norm == "query-batch":
            continue  # while training, ProtoNet takes the statistics of support and query set together
        got, outcome = ours.train(mode).task_gradient(tasks()[0])
        expected, expected_outcome = theirs.train(mode).task_gradient(tasks()[0])
        torch.testing.assert_close(outcome.loss, expected_outcome.loss, rtol=1e-10, atol=1e-12)
        probabilities = outcome.prediction.softmax(-1)
        torch.testing.assert_close(probabilities, expected_outcome.prediction.softmax(-1), rtol=1e-10, atol=1e-12)
        for name, value in expected.items():
            mine = got[name.replace("body.model.", "body.model.backbone.")]
            torch.testing.assert_close(mine, value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("unroll", ["graph", "steps"])
@pytest.mark.parametrize("adapt_body", [True, False])
def test_the_outer_gradient_passes_through_the_prototypes(adapt_body: bool, unroll: str, strategy: str) -> None:
    learner = ProtoMAML(backbone("group"), 0.1, 2, adapt_body=adapt_body, unroll=unroll)
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), strategy=strategy, reduction="sum")
    smooth = finite_difference_gap(learner, tasks(), gradients, directions=2, step=1e-6)
    assert smooth < 1e-6


def test_a_step_lowers_the_support_loss() -> None:
    task = tasks()[0]
    fit = Task(task.support, task.support)
    losses = [float(ProtoMAML(backbone(), 0.02, steps).loss(fit).loss.detach()) for steps in (0, 1, 3)]
    assert losses[0] > losses[1] > losses[2]


def test_one_checkpoint_serves_any_number_of_ways() -> None:
    """Built for another way, it has the same parameters."""
    options = {"input_shape": (3, 6, 6), "backbone": "mlp", "backbone_options": {"hidden": (8,)}}
    five, twenty = (make_learner("proto_maml", way=way, **options) for way in (5, 20))
    twenty.load_state_dict(five.state_dict())
    assert not any("head" in name for name in five.meta_parameters())
    check_any_way(
        partial(make_learner, "proto_maml", way=5, **options),
        lambda generator, way, shot: blobs(generator, way=way, shot=shot),
    )


def test_the_length_of_the_features_must_be_known() -> None:
    with pytest.raises(LearnerError, match=r"attribute 'features'.*Linear has none"):
        ProtoMAML(nn.Linear(2, 2))
