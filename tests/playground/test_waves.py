"""The function tab."""

from __future__ import annotations

import pytest
import torch

from metacortex.evaluation.evaluate import evaluate
from metacortex.playground.limits import Refused
from metacortex.playground.make_waves import train_waves
from metacortex.playground.waves import (
    SHOWN_STEPS,
    check_points,
    fit_rival,
    fit_wave,
    make_wave_learner,
    wave_learner,
)
from metacortex.task import Examples
from metacortex.tasks.functions import make_functions


def test_curves_are_those_of_the_learner() -> None:
    points = torch.tensor([[-1.0, 0.5], [2.0, -1.5], [3.0, 1.0]])
    fit = fit_wave(points)
    learner, _ = wave_learner()
    grid = torch.linspace(-5, 5, len(fit["grid"]))[:, None]
    with torch.no_grad():
        expected = learner.predict(learner.adapt(Examples(points[:, :1], points[:, 1:])), grid)[:, 0]
        prior = learner.body(learner.body.weights(), grid, None)[0][:, 0]
    assert len(fit["curves"]) == len(fit["losses"]) == SHOWN_STEPS + 1
    torch.testing.assert_close(torch.tensor(fit["curves"][-1]), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.tensor(fit["curves"][0]), prior, atol=1e-3, rtol=0)
    assert fit["losses"][-1] < fit["losses"][0]


def test_without_points_there_is_only_the_prior() -> None:
    fit = fit_wave(check_points([]))
    assert (len(fit["curves"]), fit["losses"]) == (1, [])
    with pytest.raises(Refused, match="no points"):
        fit_rival(check_points([]))


def test_the_shipped_weights_have_learned_waves() -> None:
    """As their file says; a network that has learned nothing is far worse."""
    learner, facts = wave_learner()
    tasks = make_functions("sinusoid", shot=10, queries=50, split="test")
    error = evaluate(learner, tasks, tasks=40).mean
    assert error == pytest.approx(facts["test mse"]["10"], rel=0.5)
    assert error < 0.5 * evaluate(make_wave_learner().eval(), tasks, tasks=40).mean


def test_the_rival_passes_through_the_points() -> None:
    points = torch.tensor([[0.0, 1.0], [2.5, -1.0]])
    fit = fit_rival(points)
    at = dict(zip(fit_wave(points)["grid"], fit["curve"], strict=True))
    assert at[0.0] == pytest.approx(1.0, abs=0.05)
    assert at[2.5] == pytest.approx(-1.0, abs=0.05)


def test_training_is_a_function_of_its_steps() -> None:
    one, other = train_waves(2), train_waves(2)
    start = make_wave_learner()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert not torch.equal(one.state_dict()["body.model.backbone.layers.0.weight"],
                           start.state_dict()["body.model.backbone.layers.0.weight"])  # fmt: skip


@pytest.mark.parametrize(
    "points",
    ["x", {}, [[1]], [[1, 2, 3]], [["1", "2"]], [[True, 1]], [[9, 0]], [[0, -8]], [[float("nan"), 0]], [[0, 0]] * 41],
    ids=str,
)  # fmt: skip
def test_bad_points(points: object) -> None:
    with pytest.raises(Refused, match="expected a list"):
        check_points(points)
