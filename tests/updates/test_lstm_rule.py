"""The LSTM update rule: against its equations written out, gradient descent as a special case, safe derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient
from metacortex.errors import SettingsError
from metacortex.learners.gradient.lstm_optimizer import LSTMOptimizer
from metacortex.task import stack_tasks
from metacortex.testing import blobs, finite_difference_gap
from metacortex.updates.lstm import LOSS, LSTMUpdate, preprocess
from metacortex.updates.sgd import SGD


def weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(3, 2, generator=g, dtype=torch.float64), "b": torch.randn(4, generator=g).double()}


def rule(noise: float = 0.0) -> LSTMUpdate:
    torch.manual_seed(0)
    made = LSTMUpdate(0.1, 3).double()
    with torch.no_grad():
        for p in made.parameters():
            p += noise * torch.randn_like(p)
    return made


def with_loss(gradients: dict[str, Tensor], loss: float) -> dict[str, Tensor]:
    return {**gradients, LOSS: torch.tensor(loss, dtype=torch.float64)}


def by_hand(made: LSTMUpdate, slopes: list[float], losses: list[float], theta: float) -> list[float]:
    """One coordinate, number by number."""
    cell = nn.LSTMCell(4, 3).double()
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in made.below.named_parameters()})
    h = c = torch.zeros(1, 3, dtype=torch.float64)
    gate, found = {"input": 0.0, "forget": 0.0}, []
    for slope, loss in zip(slopes, losses, strict=True):
        seen = [x for value in (slope, loss) for x in prepared(value)]
        h, c = cell(torch.tensor([seen], dtype=torch.float64), (h, c))
        for name, bias in (("input", made.input_bias), ("forget", made.forget_bias)):
            read = torch.cat([h[0], torch.tensor([theta, gate[name]], dtype=torch.float64)])
            gate[name] = float(torch.sigmoid(made.gates[name] @ read + bias).detach())
        theta = gate["forget"] * theta - gate["input"] * slope
        found.append(theta)
    return found


def prepared(x: float) -> tuple[float, float]:
    if abs(x) >= math.exp(-10):
        return math.log(abs(x)) / 10, math.copysign(1.0, x)
    return -1.0, math.exp(10) * x


def test_equals_the_equations_coordinate_by_coordinate() -> None:
    made, theta = rule(0.5), weights()
    state, slopes, losses = made.init(theta), [weights(i + 1) for i in range(3)], [2.0, 0.5, 1e-6]
    start = {name: w.clone() for name, w in theta.items()}
    found = []
    for k in range(3):
        theta, state = made.update(with_loss(slopes[k], losses[k]), state, theta, k)
        found.append(theta)
    for name, first in start.items():
        for at in range(first.numel()):
            expected = by_hand(made, [float(s[name].flatten()[at]) for s in slopes], losses, float(first.flatten()[at]))
            assert [float(w[name].flatten()[at].detach()) for w in found] == pytest.approx(expected, rel=1e-12)


def test_with_gates_held_it_is_gradient_descent() -> None:
    made, theta = rule(), weights()
    with torch.no_grad():
        for p in made.gates.values():
            p.zero_()
        made.forget_bias.fill_(60.0)
        made.input_bias.fill_(math.log(0.1 / 0.9))  # in double precision
    other, state = dict(theta), made.init(theta)
    for k in range(3):
        gradients = weights(k + 1)
        theta, state = made.update(with_loss(gradients, 1.0), state, theta, k)
        other, _ = SGD(0.1).update(gradients, {}, other, k)
    torch.testing.assert_close(theta, other, rtol=1e-12, atol=1e-14)


def test_preprocessing_is_continuous_and_has_finite_derivatives() -> None:
    edge = math.exp(-10.0)
    x = torch.tensor([0.0, edge * (1 - 1e-12), edge, -edge, 3.0, -1e-30], dtype=torch.float64, requires_grad=True)
    y = preprocess(x)
    torch.testing.assert_close(y[1], y[2])
    assert y[0].tolist() == [-1.0, 0.0]
    assert y[4].tolist() == pytest.approx([math.log(3) / 10, 1.0])
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope.isfinite().all()


def test_the_update_does_not_depend_on_how_weights_are_grouped() -> None:
    made, theta, gradients = rule(0.5), weights(), weights(1)
    alone = {}
    for name in theta:
        part = {name: theta[name]}
        alone |= made.update(with_loss({name: gradients[name]}, 1.0), made.init(part), part, 0)[0]
    together, _ = made.update(with_loss(gradients, 1.0), made.init(theta), theta, 0)
    torch.testing.assert_close(together, alone, rtol=1e-14, atol=0)


@pytest.mark.parametrize("lr", [0.0, 1.0, float("nan")])
def test_the_rate_is_a_gate(lr: float) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        LSTMUpdate(lr)
    with pytest.raises(SettingsError, match="hidden must be at least 1"):
        LSTMUpdate(hidden=0)


def learner(**options: object) -> LSTMOptimizer:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3))
    made = LSTMOptimizer(net, 0.3, 3, 4, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in made.rule.parameters():
            p += 0.3 * torch.randn_like(p)
    return made


@pytest.mark.parametrize("unroll", ["graph", "steps"])
def test_second_order_gradient_by_finite_differences(unroll: str) -> None:
    made = learner(order=2, unroll=unroll)
    tasks = [blobs(torch.Generator().manual_seed(i), shape=(3, 2, 2)) for i in range(2)]
    gradients, _ = meta_gradient(made, stack_tasks(tasks), reduction="sum")
    assert {"rule.gates.input", "rule.below.weight_hh_l0", "body.model.1.weight"} <= set(gradients)
    assert finite_difference_gap(made, tasks, gradients) < 1e-7


def test_first_order_gradient_is_one_of_the_rule_with_constant_gradients() -> None:
    """Both ways to take it agree, and it is another one than that of second order."""
    batch = stack_tasks([blobs(torch.Generator().manual_seed(0), shape=(3, 2, 2))])
    graph, steps, exact = (
        meta_gradient(learner(order=order, unroll=unroll), batch)[0]
        for order, unroll in ((1, "graph"), (1, "steps"), (2, "graph"))
    )
    torch.testing.assert_close(graph, steps, rtol=1e-10, atol=1e-13)
    assert not torch.allclose(graph["body.model.1.weight"], exact["body.model.1.weight"], rtol=1e-3)


def test_meta_training_the_rule_alone_makes_adaptation_better() -> None:
    made = learner()
    task = blobs(torch.Generator().manual_seed(0), shape=(3, 2, 2), spread=1.0, queries=5)
    losses = []
    optimizer = torch.optim.Adam(made.rule.parameters(), lr=0.05)
    for _ in range(15):
        gradients, outcome = made.task_gradient(task)
        losses.append(float(outcome.loss))
        for name, p in made.rule.named_parameters():
            p.grad = gradients[f"rule.{name}"]
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
