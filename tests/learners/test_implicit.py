"""iMAML: conjugate gradients, the closed form, long unrolling, finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import SettingsError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.conjugate import conjugate_gradients
from metacortex.learners.gradient.imaml import IMAML
from metacortex.learners.objective import MeanSquaredError
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import PeakMemory, blobs, finite_difference_gap
from metacortex.updates.proximal import ProximalSGD


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spd(size: int) -> Tensor:
    a = draw(size, size)
    return a @ a.T + torch.eye(size, dtype=torch.float64)


def test_conjugate_gradients_solve_exactly_in_as_many_steps_as_dimensions() -> None:
    matrix, b = spd(5), draw(5, seed=1)

    def product(v: dict[str, Tensor]) -> dict[str, Tensor]:
        whole = matrix @ torch.cat([v["a"], v["b"]])
        return {"a": whole[:2], "b": whole[2:]}

    expected = torch.linalg.solve(matrix, b)
    for steps in (5, 9):
        x = conjugate_gradients(product, {"a": b[:2], "b": b[2:]}, steps)
        torch.testing.assert_close(torch.cat([x["a"], x["b"]]), expected, rtol=1e-8, atol=1e-8)
    rough = conjugate_gradients(product, {"a": b[:2], "b": b[2:]}, 2)
    assert not torch.allclose(torch.cat([rough["a"], rough["b"]]), expected, rtol=1e-4)


def test_conjugate_gradients_of_nothing_are_nothing() -> None:
    x = conjugate_gradients(lambda v: v, {"a": torch.zeros(3)}, 4)
    assert torch.equal(x["a"], torch.zeros(3))


@pytest.mark.parametrize("strategy", strategy_names())
def test_closed_form_on_a_linear_model(strategy: str) -> None:
    """θ* = (H + λI)⁻¹ (b + λθ) and dL/dθ = λ (H + λI)⁻¹ q, q the query gradient at θ*."""
    x, y, z, t = draw(5, 4), draw(5, 1, seed=1), draw(7, 4, seed=2), draw(7, 1, seed=3)
    strength, model = 1.5, nn.Linear(4, 1, bias=False).double()
    learner = IMAML(model, 0.25, 70, strength=strength, cg_steps=4, objective=MeanSquaredError())
    theta = model.weight.detach().T
    matrix = 2 / len(x) * x.T @ x + strength * torch.eye(4, dtype=torch.float64)
    solution = torch.linalg.solve(matrix, 2 / len(x) * x.T @ y + strength * theta)
    query = 2 / len(z) * z.T @ (z @ solution - t)
    batch = stack_tasks([Task(Examples(x, y), Examples(z, t))])
    gradients, outcome = meta_gradient(learner, batch, strategy=strategy)
    expected = strength * torch.linalg.solve(matrix, query)
    torch.testing.assert_close(gradients["body.model.weight"].T, expected, rtol=1e-9, atol=1e-11)
    assert float(outcome.loss) == pytest.approx(float(((z @ solution - t) ** 2).mean()), rel=1e-10)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)).double()


def task() -> Task:
    return blobs(torch.Generator().manual_seed(0), shape=(6,))


def gap(learner: IMAML, other: GradientLearner) -> float:
    ours, theirs = learner.task_gradient(task())[0], other.task_gradient(task())[0]
    difference = sum(float(((ours[k] - theirs[k]) ** 2).sum()) for k in theirs) ** 0.5
    return difference / sum(float((g**2).sum()) for g in theirs.values()) ** 0.5


@pytest.mark.parametrize("adapt", ["all", "head", "body"])
def test_agrees_with_long_unrolling(adapt: str) -> None:
    """The gradient through the whole path of the same descent, also for weights that are not adapted."""
    choices: dict[str, Any] = {"inner_steps": 45, "adapt": adapt}
    implicit = IMAML(network(), 0.35, strength=2.0, cg_steps=40, **choices)
    unrolled = GradientLearner(network(), ProximalSGD(0.35, 2.0), unroll="steps", **choices)
    assert gap(implicit, unrolled) < 1e-7
    assert finite_difference_gap(implicit, [task()], implicit.task_gradient(task())[0], directions=2) < 1e-7


def test_few_steps_of_either_kind_are_an_approximation() -> None:
    """Negative control: the agreement above is not trivial."""
    unrolled = GradientLearner(network(), ProximalSGD(0.35, 2.0), inner_steps=30, unroll="steps")
    gaps = [gap(IMAML(network(), 0.35, 30, strength=2.0, cg_steps=steps), unrolled) for steps in (1, 3, 40)]
    assert gaps[0] > 1e-2
    assert gaps[0] > gaps[1] > gaps[2]
    short = GradientLearner(network(), ProximalSGD(0.35, 2.0), inner_steps=2)
    assert gap(IMAML(network(), 0.35, 2, strength=2.0, cg_steps=40), short) > 1e-2


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    peaks = []
    for steps in (2, 12):
        learner = IMAML(network(), 0.1, steps)
        with PeakMemory() as memory:
            learner.task_gradient(task())
        peaks.append(memory.peak)
    assert peaks[1] <= 1.02 * peaks[0]


def test_values_out_of_range() -> None:
    with pytest.raises(SettingsError, match=r"positive and cg_steps at least 1, got 0\.0 and 5"):
        IMAML(network(), strength=0.0)
    with pytest.raises(SettingsError, match=r"cg_steps at least 1, got 2\.0 and 0"):
        IMAML(network(), cg_steps=0)
