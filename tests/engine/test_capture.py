"""Meta-gradients recorded as one graph: the same numbers, also with other weights and buffers; what cannot be one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from metacortex.engine.capture import capture, signature
from metacortex.engine.gradient import loop, vectorised
from metacortex.errors import LearnerError
from metacortex.learners.base import Learner
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.gradient.maml_pp import MAMLPlusPlus
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.nn.classifier import Classifier
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs
from metacortex.tree import tree_leaves


def conv() -> nn.Module:
    torch.manual_seed(0)
    net = Classifier(Conv4((1, 6, 6), Conv4Settings(channels=4, blocks=2, norm="batch")), 3).double()
    nn.init.normal_(net.head.weight)
    return net


def batch(seed: int = 0) -> Task:
    drawn = [blobs(torch.Generator().manual_seed(seed + i), shape=(1, 6, 6)) for i in range(2)]
    return stack_tasks(drawn).without_info()


def learners() -> dict[str, Learner]:
    return {
        "maml": MAML(conv(), 0.1, 2, unroll="steps"),
        "running": ProtoNet(conv(), norm="running"),
        "maml_pp": MAMLPlusPlus(conv(), 0.1, 2, multi_step_until=10, first_order_until=3),
    }


def disturb(learner: Learner) -> None:
    with torch.no_grad():
        for x in [*learner.parameters(), *learner.buffers()]:
            x.add_(5 if x.dtype == torch.int64 else 0.05 * torch.rand_like(x))


@pytest.mark.parametrize(("name", "function"), [*((name, loop) for name in learners()), ("maml", vectorised)])
def test_a_graph_serves_other_weights_buffers_and_tasks(name: str, function: Any) -> None:
    learner = learners()[name]
    graph = capture(function, learner, batch())
    disturb(learner)
    assert signature(learner, batch(7)) == signature(learner, batch())
    with torch.no_grad():
        got = graph(learner, batch(7))
    expected = function(learner, batch(7))
    assert len(tree_leaves(got)) == len(tree_leaves(expected))
    torch.testing.assert_close(tree_leaves(got), tree_leaves(expected), rtol=1e-8, atol=1e-10)


def test_signatures_tell_modes_shapes_and_what_is_learned_apart() -> None:
    learner = MAML(conv(), 0.1)
    known = [signature(learner, batch())]
    known.append(signature(learner.eval(), batch()))
    known.append(signature(learner.train(), stack_tasks([blobs(torch.Generator(), shape=(1, 6, 6))]).without_info()))
    next(learner.parameters()).requires_grad_(False)
    known.append(signature(learner, batch()))
    assert len(set(known)) == 4


def test_signatures_notice_another_structure() -> None:
    """What is remembered of a learner does not outlive a change of its modules or tensors."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    learner = ProtoNet(net)
    own = learner.body.model
    known = [signature(learner, batch())]
    own[1].weight = nn.Parameter(torch.zeros(2, 2))  # no longer shared
    known.append(signature(learner, batch()))
    own[1].bias = None
    known.append(signature(learner, batch()))
    own[1] = nn.Linear(2, 3)
    known.append(signature(learner, batch()))
    own.append(nn.ReLU())
    known.append(signature(learner, batch()))
    own[0].register_buffer("extra", torch.zeros(1))
    known.append(signature(learner, batch()))
    assert len(set(known)) == len(known)
    own[0].weight = nn.Parameter(torch.ones(2, 2))
    assert signature(learner, batch()) == known[-1]


class _Peeking(MAML):
    def loss(self, task: Task) -> Any:
        outcome = super().loss(task)
        return outcome if float(outcome.loss) > 0 else super().loss(task)


def test_what_cannot_be_a_graph_says_why() -> None:
    dropping = MAML(nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Dropout(0.5)).double(), 0.1, unroll="graph")
    with pytest.raises(LearnerError, match="random numbers"):
        capture(loop, dropping, batch())
    with pytest.raises(LearnerError, match="decides by the values"):
        capture(loop, _Peeking(conv(), 0.1, unroll="graph"), batch())
