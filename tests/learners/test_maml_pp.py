"""MAML++: what depends on the progress of meta-training is pure, counted and resumed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import SettingsError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.gradient.maml_pp import MAMLPlusPlus
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap


def learner(**choices: Any) -> MAMLPlusPlus:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    return MAMLPlusPlus(net, **{"inner_steps": 3, "multi_step_until": 4, **choices})


def tasks(count: int = 2) -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(6,)) for i in range(count)]


def train(model: MAMLPlusPlus, steps: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        batch = stack_tasks([blobs(torch.Generator().manual_seed(10 + step), shape=(6,))])
        gradients, outcome = meta_gradient(model.train(), batch)
        losses.append(float(outcome.loss))
        with torch.no_grad():
            for name, p in model.named_parameters():
                p -= 0.1 * gradients[name]
            buffers = dict(model.named_buffers())
            for name, value in outcome.buffers.items():
                buffers[name].copy_(value)
    return losses


def test_without_its_switches_it_is_maml() -> None:
    off = {"learned_rates": False, "multi_step_until": 0, "norm": "support", "inner_lr": 0.1}
    model = learner(**off)
    expected = MAML(model.body.model, 0.1, 3).task_gradient(tasks()[0])[0]
    got = model.task_gradient(tasks()[0])[0]
    assert set(got) == set(expected)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_shares_move_to_the_last_step() -> None:
    model = learner()
    expected = [[1 / 3] * 3, [1 / 4, 1 / 4, 1 / 2], [1 / 6, 1 / 6, 2 / 3], [1 / 12, 1 / 12, 5 / 6]]
    for shares in expected:
        torch.testing.assert_close(model.stage_weights(), torch.tensor(shares, dtype=torch.float64))
        model.meta_steps += 1
    assert model.stage_weights() is None
    assert learner().eval().stage_weights() is None
    assert learner(inner_steps=1).stage_weights() is None


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("unroll", ["graph", "steps"])
@pytest.mark.parametrize("done", [0, 3, 4])
def test_multi_step_gradient(done: int, unroll: str, strategy: str) -> None:
    model = learner(unroll=unroll)
    model.meta_steps += done
    gradients, outcome = meta_gradient(model, stack_tasks(tasks()), strategy=strategy, reduction="sum")
    assert finite_difference_gap(model, tasks(), gradients, directions=2) < 1e-7
    assert outcome.buffers["meta_steps"].dtype == torch.int64
    assert int(outcome.buffers["meta_steps"]) == done + 1


def test_the_loss_is_the_weighted_sum_of_the_steps() -> None:
    model, task = learner(norm="query-batch", learned_rates=False), tasks()[0]
    model.meta_steps += 2
    losses = []
    for steps in (1, 2, 3):
        shorter = MAML(model.body.model, 0.1, steps, norm="query-batch")
        losses.append(shorter.loss(task).loss)
    expected = (losses[0] + losses[1]) / 6 + losses[2] * 2 / 3
    torch.testing.assert_close(model.loss(task).loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.task_gradient(task)[1].loss, expected.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("unroll", ["graph", "steps"])
def test_second_derivatives_begin_when_told(unroll: str, strategy: str) -> None:
    model = learner(first_order_until=2, multi_step_until=0, unroll=unroll)
    first = flat(meta_gradient(model, stack_tasks(tasks()), strategy=strategy)[0])
    reference = learner(multi_step_until=0, unroll=unroll)
    second = flat(meta_gradient(reference, stack_tasks(tasks()))[0])
    assert not torch.allclose(first, second, rtol=1e-3)
    model.meta_steps += 2
    torch.testing.assert_close(flat(meta_gradient(model, stack_tasks(tasks()), strategy=strategy)[0]), second)
    reference.order = 1
    torch.testing.assert_close(first, flat(GradientOf(reference).at_order_one()))


class GradientOf:
    """The first-order gradient of the same inner loop through the plain base class."""

    def __init__(self, model: MAMLPlusPlus) -> None:
        self.model = model

    def at_order_one(self) -> dict[str, Tensor]:
        plain = GradientLearner(
            self.model.body.model, copy.deepcopy(self.model.rule), inner_steps=3, norm="per-step", order=1
        )
        return meta_gradient(plain, stack_tasks(tasks()))[0]


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def test_a_resumed_run_goes_on_where_it_was() -> None:
    choices = {"multi_step_until": 5, "first_order_until": 3}
    whole = learner(**choices)
    losses = train(whole, 6)
    half = learner(**choices)
    before = train(half, 2)
    resumed = learner(**choices)
    resumed.load_state_dict(half.state_dict())
    assert losses == before + train(resumed, 4, first=2)
    assert int(resumed.meta_steps) == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    forgetful = learner(**choices)
    forgetful.load_state_dict({**half.state_dict(), "meta_steps": torch.tensor(0)})
    assert losses != before + train(forgetful, 4, first=2)


def test_statistics_and_rates_of_each_step() -> None:
    model = learner()
    train(model, 2)
    assert model.body.mean_2.shape == (4, 5)  # three inner steps and the query pass
    assert len({tuple(row.tolist()) for row in model.body.mean_2}) == 4
    assert model.rule.rates.shape == (6, 3)
    more = learner(eval_steps=6)
    more.load_state_dict(model.state_dict())
    assert more.eval().adapt(tasks()[0].support)["weights"]["1.weight"].shape == (5, 6)


def test_negative_horizons_are_refused() -> None:
    with pytest.raises(SettingsError, match="must not be negative, got -1 and 0"):
        learner(multi_step_until=-1)
