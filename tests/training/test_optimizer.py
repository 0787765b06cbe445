"""The outer optimiser: shares of the learning rate, clipping, gradients that are no numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metacortex.learners.base import Learner
from metacortex.settings import TrainingSettings
from metacortex.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors, outer_step


class TwoParts(Learner):
    """A body, and a reader that takes a quarter of the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.reader = nn.Linear(2, 3), nn.Linear(3, 2)
        self.lr_shares = {"reader": 0.25}

    def adapt(self, support, *, description=None, generator=None):
        return {}

    def predict(self, state, inputs: Tensor) -> Tensor:
        return self.reader(self.body(inputs))


def ones(learner: Learner) -> dict[str, Tensor]:
    return {name: torch.ones_like(p) for name, p in learner.named_parameters()}


def test_parts_take_their_share() -> None:
    learner = TwoParts()
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    optimizer = make_optimizer(learner, TrainingSettings())
    assert optimizer is not None
    for lr in (0.1, 0.02):
        outer_step(learner, optimizer, ones(learner), lr=lr)
    for name, parameter in learner.named_parameters():
        share = 0.25 if name.startswith("reader") else 1.0
        torch.testing.assert_close(before[name] - parameter, torch.full_like(parameter, 0.12 * share))


def test_state_is_kept_by_name() -> None:
    first, second = TwoParts(), TwoParts()
    second.load_state_dict(first.state_dict())
    one, other = (make_optimizer(learner, TrainingSettings()) for learner in (first, second))
    assert one is not None
    assert other is not None
    outer_step(first, one, ones(first), lr=0.1)
    outer_step(second, other, ones(second), lr=0.1)
    fresh = make_optimizer(second, TrainingSettings())
    assert fresh is not None
    load_optimizer(second, fresh, optimizer_tensors(first, one), "here")
    for learner, optimizer in ((first, one), (second, fresh)):
        outer_step(learner, optimizer, {n: -3 * g for n, g in ones(learner).items()}, lr=0.1)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, dict(second.named_parameters())[name])


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    learner = TwoParts()
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    optimizer = make_optimizer(learner, TrainingSettings())
    assert optimizer is not None
    outer_step(learner, optimizer, {"body.weight": torch.full((3, 2), torch.nan)}, lr=0.1)
    assert all(torch.equal(before[name], p) for name, p in learner.named_parameters())
