"""Reasons for values, against closed forms, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from metacortex.explain.explained import ExplainedValues
from metacortex.explain.values import explain_values, jackknife_interval, learned_curve, target_weights
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.r2d2 import R2D2
from metacortex.learners.model.base import Role
from metacortex.learners.model.cnp import CNP
from metacortex.learners.objective import MeanSquaredError
from metacortex.task import Examples

X = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, -1.0], [0.5, 2.0]])
Y = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, -1.0], [0.5, 0.0], [4.0, 2.0]])
QUERY = torch.tensor([[1.0, 0.5], [0.2, 0.4]])


def ridge() -> R2D2:
    return R2D2(nn.Identity(), ridge=0.5, scale=1.0, intercept=False, objective=MeanSquaredError())


def solved(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve(x.T @ x + 0.5 * torch.eye(2), x.T @ y)


def test_influence_and_errors_of_ridge_regression_by_hand() -> None:
    found = explain_values(ridge(), Examples(X, Y), QUERY)
    keep = torch.arange(5) != 3
    without = solved(X[keep], Y[keep])
    torch.testing.assert_close(found[0].value, QUERY[0] @ solved(X, Y), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0].influence[3], QUERY[0] @ (solved(X, Y) - without), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1].errors[3], Y[3] - X[3] @ without, atol=1e-5, rtol=1e-4)
    assert found[0].prior is not None
    assert found[0].prior.tolist() == [0, 0]
    assert found[0].changes == {}
    json.dumps(found[0].to_json(), allow_nan=False)


def test_weights_of_ridge_regression_sum_the_targets() -> None:
    weights = target_weights(ridge(), Examples(X, Y), QUERY)
    assert weights is not None
    expected = QUERY @ torch.linalg.solve(X.T @ X + 0.5 * torch.eye(2), X.T)  # [Q, N]
    for output in range(2):
        torch.testing.assert_close(weights[:, :, output], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((weights * Y).sum(1), QUERY @ solved(X, Y), atol=1e-5, rtol=1e-4)


def test_weights_pass_the_inner_loop() -> None:
    """A step on ‖xw − y‖²/N moves w by 2·lr/N·x for each unit of y: the rest is linear."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.3)
    learner = MAML(model, inner_lr=0.1, objective=MeanSquaredError())
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]])
    weights = target_weights(learner, Examples(x, y), torch.tensor([[3.0]]))
    assert weights is not None
    torch.testing.assert_close(weights[0, :, 0], 3.0 * 0.1 * 2 / 2 * x[:, 0])
    (found,) = explain_values(learner, Examples(x, y), torch.tensor([[3.0]]))
    assert found.prior is not None
    assert float(found.prior) == pytest.approx(0.9), "nothing was learned of nothing"
    assert list(found.changes) == ["weight"]


def test_learners_that_let_no_derivative_through() -> None:
    """Negative control."""

    class Closed(R2D2):
        def adapt(self, support: Examples, **options: object) -> dict[str, torch.Tensor]:
            return {k: v.detach() for k, v in super().adapt(support).items()}

    assert target_weights(Closed(nn.Identity(), objective=MeanSquaredError()), Examples(X, Y), QUERY) is None


def test_an_only_example_is_compared_with_the_prior() -> None:
    (found,) = explain_values(ridge(), Examples(X[:1], Y[:1]), QUERY[:1])
    torch.testing.assert_close(found.influence[0], found.value)
    assert found.interval is None


def test_what_the_learner_is_unsure_of_itself() -> None:
    torch.manual_seed(0)
    learner = CNP(nn.Linear(2, 4), 4, Role("regression", 2), width=8, uncertainty=True)
    (found,) = explain_values(learner, Examples(X, Y), QUERY[:1])
    assert found.value.shape == (2,)
    assert found.deviation is not None
    assert bool((found.deviation >= 0.1).all())
    assert found.influence.shape == (5, 2)


def test_the_nearest_example_of_another_value() -> None:
    learner = R2D2(nn.Identity(), ridge=1e-3, scale=1.0, objective=MeanSquaredError())
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    (found,) = explain_values(learner, Examples(x, 10 * x), torch.tensor([[2.1]]))
    assert found.counter_example == 2, "off by 1, where the line fits far better"
    (found,) = explain_values(learner, Examples(x, torch.zeros(4, 1)), torch.tensor([[2.1]]))
    assert found.counter_example == -1


def test_jackknife_intervals_hold_what_they_promise() -> None:
    """Of means of normal numbers; 0.8 wanted, four deviations of the binomial around it allowed."""
    draws = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))
    held = 0
    for row in draws:
        seen, asked = row[:9], row[9]
        left = (seen.sum() - seen) / 8
        interval = jackknife_interval(left[:, None], (seen - left)[:, None])
        assert interval is not None
        held += int(interval[0, 0] <= asked <= interval[1, 0])
    assert held / 2000 == pytest.approx(0.8, abs=4 * (0.16 / 2000) ** 0.5)
    assert jackknife_interval(torch.zeros(3, 1), torch.ones(3, 1)) is None


def test_a_page_with_the_function() -> None:
    x = torch.linspace(-1, 1, 5)[:, None]
    support, asked = Examples(x, torch.cat([x, x**2], 1)), torch.tensor([[0.3]])
    curve = learned_curve(ridge(), support, torch.linspace(-1, 1, 9))
    assert curve.adapted.shape == (9, 2)
    assert curve.prior is not None
    assert bool((curve.prior == 0).all())
    found = explain_values(ridge(), support, asked)
    names = [f"<i>{i}" for i in range(5)]
    explained = ExplainedValues("t", "l", found, support, asked, names, ["q"], [[0.3, 0.09]], curve)
    text = explained.page().to_html()
    assert text.count("data:image/png;base64,") == 1
    assert "&lt;i&gt;" in text
    assert "The true value is 0.3, 0.09" in text
    assert explained.tables()[0][0].startswith("q: ")
    assert len(explained) == 1
    assert explained[0] is found[0]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from metacortex.cli.main import main

    run, page = tmp_path / "run", tmp_path / "why.html"
    small = ["--backbone", "mlp", "--set", "backbone.hidden=8", "--steps", "2", "--shot", "5", "--queries", "6"]
    sizes = ["--set", "training.validation_tasks=2", "--quiet"]
    assert main(["train", "maml", "--data", "sinusoid", *small, *sizes, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["explain", str(run), "--task", "1", "--out", str(page), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (len(said["queries"]), len(said["examples"])) == (3, 5)
    first = said["queries"][0]
    assert (len(first["influence"]), len(first["weights"]), len(first["interval"])) == (5, 5, 2)
    assert first["changes"]
    assert "data:image/png" in page.read_text(encoding="utf-8")
    assert main(["explain", str(run)]) == 0
    assert "±" in capsys.readouterr().out
