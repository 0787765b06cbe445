"""What the recipes of the gradient family share: meta-gradients on norm layers, ties, settings, registry."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from gradient_cases import APPROXIMATE, GRADIENT_OPTIONS
from torch import nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.gradient.anil import ANIL
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.boil import BOIL
from metacortex.learners.gradient.cavia import CAVIA
from metacortex.learners.gradient.maml_pp import MAMLPlusPlus
from metacortex.learners.gradient.meta_curvature import MetaCurvature
from metacortex.learners.gradient.meta_sgd import MetaSGD
from metacortex.learners.gradient.reptile import Reptile, joined, minibatch
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.registry import make_learner
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs, check_masks, check_shared_parameters, check_strategies, finite_difference_gap

EXACT = [name for name in GRADIENT_OPTIONS if name not in APPROXIMATE]


def build(name: str, **more: Any) -> GradientLearner:
    options = {**GRADIENT_OPTIONS[name], **more}
    small = {"backbone": "conv4", "backbone_options": {"channels": 4, "blocks": 2}}
    learner = make_learner(name, input_shape=(1, 6, 6), way=4, **small, **options)
    assert isinstance(learner, GradientLearner)
    return learner


def tasks() -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6)) for i in range(2)]


def image(generator: torch.Generator) -> Task:
    return blobs(generator, shape=(1, 6, 6))


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("name", EXACT)
def test_meta_gradient_through_batch_norm(name: str, strategy: str) -> None:
    torch.manual_seed(0)
    learner = build(name).double()
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), strategy=strategy, reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients, directions=1, step=1e-6) < 1e-6


@pytest.mark.parametrize("name", ["reptile", "imaml", "cavia"])
def test_strategies_and_padding_on_images(name: str) -> None:
    check_strategies(partial(build, name), image)
    check_masks(partial(build, name), image)


WRAPS = {
    "anil": lambda module: ANIL(module, 0.1, 2),
    "boil": lambda module: BOIL(module, 0.1, 2),
    "cavia": lambda module: CAVIA(module, 0.5, 2, context_size=3),
    "maml_pp": lambda module: MAMLPlusPlus(module, 0.1, 2),
    "meta_curvature": lambda module: MetaCurvature(module, 0.1, 2),
    "meta_sgd": lambda module: MetaSGD(module, 0.1, 2),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_tied_unused_and_frozen_parameters(wrap: str) -> None:
    check_shared_parameters(WRAPS[wrap], blobs, outputs=4)


@pytest.mark.parametrize(("kind", "rate"), [("classification", 0.4), ("regression", 0.01)])
def test_the_inner_rate_follows_the_kind_of_tasks(kind: Any, rate: float) -> None:
    small = {"input_shape": (1,), "backbone": "mlp", "backbone_options": {"hidden": (4,)}, "way": 1, "kind": kind}
    assert make_learner("fomaml", **small).rule.lr == rate
    assert make_learner("fomaml", inner_lr=0.2, **small).rule.lr == 0.2
    rates = make_learner("meta_sgd", **small).rule.rates["head/bias"].detach()
    assert rates.tolist() == pytest.approx([rate])


@pytest.mark.parametrize("name", [name for name in GRADIENT_OPTIONS if name != "proto_maml"])
def test_regression(name: str) -> None:
    """One function y = 2x − 1, learned from tasks that all ask for it."""
    torch.manual_seed(0)
    small = {"input_shape": (1,), "backbone": "mlp", "backbone_options": {"hidden": (16,)}}
    few = {key: value for key, value in GRADIENT_OPTIONS[name].items() if key.endswith("steps")}
    learner = make_learner(name, way=1, kind="regression", objective=MeanSquaredError(), **small, **few).double()
    x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    task = Task(Examples(x[::2], 2 * x[::2] - 1), Examples(x[1::2], 2 * x[1::2] - 1))
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=0.03)
    losses = []
    for _ in range(60):
        gradients, outcome = learner.task_gradient(task)
        losses.append(float(outcome.loss))
        for key, p in learner.named_parameters():
            p.grad = gradients.get(key)
        optimizer.step()
    assert losses[-1] < 0.05 < losses[0]


def test_proto_maml_does_not_do_regression() -> None:
    with pytest.raises(SettingsError, match="'proto_maml' does not do regression"):
        make_learner("proto_maml", kind="regression")


@pytest.mark.parametrize("name", ["boil", "cavia"])
def test_a_head_that_is_not_adapted_does_not_begin_at_zero(name: str) -> None:
    """One of zeros would let no gradient reach what is adapted."""
    learner, task = build(name).double(), tasks()[0]
    before = learner.start(task.support)["fast"]
    after, _ = learner.step(learner.start(task.support), task.support, 0)
    assert any(not torch.equal(before[key], after["fast"][key]) for key in before)


def test_minibatches_of_a_padded_set_hold_the_same_real_rows() -> None:
    x = torch.arange(7.0)
    plain = Examples(x, x)
    mask = torch.tensor([True] * 3 + [False] + [True] * 4 + [False])
    padded = Examples(*[torch.cat([x[:3], torch.tensor([-1.0]), x[3:], torch.tensor([-1.0])])] * 2, mask)
    for k in range(8):
        one, other = minibatch(plain, 3, k), minibatch(padded, 3, k)
        assert other.inputs[other.mask].tolist() == one.inputs.tolist()
    seen = [v for k in range(3) for v in minibatch(plain, 3, k).inputs.tolist()]
    assert sorted(seen) == x.tolist()


def test_joined_sets_keep_their_padding() -> None:
    first = Examples(torch.ones(2, 3), torch.zeros(2), torch.tensor([True, False]))
    second = Examples(torch.zeros(1, 3), torch.ones(1))
    both = joined(first, second)
    assert both.mask.tolist() == [True, False, True]
    assert both.inputs[:, 0].tolist() == [1, 1, 0]
    assert joined(second, second).mask is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: ANIL(m, norm="per-step"), "anil: use support"),
        (lambda m: CAVIA(m, context_size=0), "context_size must be at least 1.*got 0"),
        (lambda m: CAVIA(m, layers="middle"), "'middle'"),
        (lambda m: Reptile(m, rule="adams"), "got 'adams'"),
        (lambda m: MetaSGD(m, 0.0), "inner_lr must be positive"),
        (lambda m: MetaSGD(m, order=3), "order must be 1"),
    ],
)
def test_settings_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def test_cavia_needs_a_layer_to_condition() -> None:
    with pytest.raises(LearnerError, match="no layer before the head of Sequential"):
        CAVIA(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)))
