"""Meta-gradients against central finite differences in float64, for each norm layer and strategy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.learners.gradient.maml import MAML
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap

LAYERS = {
    "batch": lambda: nn.BatchNorm2d(4),
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer": lambda: nn.LayerNorm([4, 4, 4]),
}
POLICIES = [("batch", norm) for norm in ("query-batch", "support", "running", "per-step")]
NORMS = [*POLICIES, *[(layer, "support") for layer in LAYERS if layer != "batch"]]


def model(layer: str) -> nn.Module:
    """A user's module with a stock norm layer; smooth, so that differences are exact."""
    torch.manual_seed(0)
    norm = LAYERS[layer]()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1.0, 0.3)
    return nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()


def tasks() -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(2, 6, 6)) for i in range(2)]


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("unroll", ["graph", "steps"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("layer", "norm"), NORMS)
def test_second_order(layer: str, norm: str, steps: int, unroll: str, strategy: str) -> None:
    learner = MAML(model(layer), 0.2, steps, norm=norm, unroll=unroll)
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), strategy=strategy, reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients, directions=2) < 1e-7


@pytest.mark.parametrize("norm", ["running", "per-step"])
def test_second_order_with_kept_statistics(norm: str) -> None:
    learner = MAML(model("batch"), 0.2, 2, norm=norm).eval()
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), strategy="vmap", reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients) < 1e-7


@pytest.mark.parametrize("adapt", ["head", "body"])
@pytest.mark.parametrize("unroll", ["graph", "steps"])
def test_second_order_of_a_part(adapt: str, unroll: str) -> None:
    learner = MAML(model("group"), 0.2, 2, adapt=adapt, unroll=unroll)
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients) < 1e-7


def test_first_order_is_no_derivative_of_the_loss() -> None:
    """Negative control: the check tells first from second order."""
    learner = MAML(model("batch"), 0.2, 1, order=1)
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients) > 1e-3
