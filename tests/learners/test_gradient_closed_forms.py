"""The gradient family against formulas written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.learners.gradient.anil import ANIL
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.boil import BOIL
from metacortex.learners.gradient.cavia import CAVIA
from metacortex.learners.gradient.fomaml import FOMAML
from metacortex.learners.gradient.maml_pp import MAMLPlusPlus
from metacortex.learners.gradient.meta_curvature import MetaCurvature
from metacortex.learners.gradient.meta_sgd import MetaSGD
from metacortex.learners.gradient.reptile import Reptile
from metacortex.learners.objective import MeanSquaredError
from metacortex.nn.classifier import Classifier
from metacortex.task import Examples, Task, stack_tasks

ALPHA, INPUTS = 0.1, 4
CLOSE: dict[str, float] = {"rtol": 1e-10, "atol": 1e-12}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regression(seed: int, inputs: int = INPUTS) -> Task:
    x, z = draw(5, inputs, seed=seed), draw(7, inputs, seed=seed + 100)
    return Task(Examples(x, draw(5, 1, seed=seed + 200)), Examples(z, draw(7, 1, seed=seed + 300)))


def linear() -> nn.Linear:
    model = nn.Linear(INPUTS, 1, bias=False).double()
    model.weight.data = draw(1, INPUTS, seed=9)
    return model


class Quadratic:
    """Mean squared error of a linear model: gradient, Hessian, query gradient, in columns."""

    def __init__(self, task: Task) -> None:
        self.x, self.y = task.support.inputs, task.support.targets
        self.z, self.t = task.query.inputs, task.query.targets
        self.hessian = 2 / len(self.x) * self.x.T @ self.x

    def slope(self, w: Tensor) -> Tensor:
        return 2 / len(self.x) * self.x.T @ (self.x @ w - self.y)

    def query(self, w: Tensor) -> Tensor:
        return 2 / len(self.z) * self.z.T @ (self.z @ w - self.t)


def both(learner: GradientLearner, seed: int = 0) -> dict[str, Tensor]:
    """The gradient of one task, the same by every strategy."""
    batch = stack_tasks([regression(seed)])
    first, *others = (meta_gradient(learner, batch, strategy=strategy)[0] for strategy in strategy_names())
    for other in others:
        torch.testing.assert_close({k: other[k] for k in first}, first, **CLOSE)
    return first


def options(**more: Any) -> dict[str, Any]:
    return {"inner_lr": ALPHA, "objective": MeanSquaredError(), **more}


def test_fomaml_applies_the_query_gradient_of_the_adapted_weights() -> None:
    task = Quadratic(regression(0))
    w = linear().weight.detach().T
    for _ in range(3):
        w = w - ALPHA * task.slope(w)
    got = both(FOMAML(linear(), inner_steps=3, **options()))["body.model.weight"]
    torch.testing.assert_close(got.T, task.query(w), **CLOSE)


@pytest.mark.parametrize("learn_from", ["support", "task"])
def test_reptile_with_gradient_descent_sums_the_inner_gradients(learn_from: str) -> None:
    raw = regression(0)
    examples = raw.support
    if learn_from == "task":
        inputs = torch.cat([raw.support.inputs, raw.query.inputs])
        examples = Examples(inputs, torch.cat([raw.support.targets, raw.query.targets]))
    task = Quadratic(Task(examples, raw.query))
    w, total = linear().weight.detach().T, torch.zeros(INPUTS, 1, dtype=torch.float64)
    for _ in range(3):
        slope = task.slope(w)
        w, total = w - ALPHA * slope, total + slope
    learner = Reptile(linear(), inner_steps=3, rule="sgd", batch_size=0, learn_from=learn_from, **options())
    torch.testing.assert_close(both(learner)["body.model.weight"].T, total, **CLOSE)


def test_reptile_takes_minibatches_in_turns() -> None:
    raw = regression(0)
    w, total = linear().weight.detach().T, torch.zeros(INPUTS, 1, dtype=torch.float64)
    for rows in ([0, 3], [1, 4], [2], [0, 3]):
        slope = Quadratic(Task(Examples(raw.support.inputs[rows], raw.support.targets[rows]), raw.query)).slope(w)
        w, total = w - ALPHA * slope, total + slope
    learner = Reptile(linear(), inner_steps=4, rule="sgd", batch_size=2, learn_from="support", **options())
    torch.testing.assert_close(both(learner)["body.model.weight"].T, total, **CLOSE)


def test_reptile_serial_and_batched() -> None:
    """An outer step of rate α on one task lands on the adapted weights, on two on their mean."""
    learner = Reptile(linear(), inner_steps=2, rule="sgd", batch_size=0, learn_from="support", **options())
    adapted = [learner.adapt(regression(seed).support)["weights"]["weight"].detach() for seed in range(2)]
    serial, _ = meta_gradient(learner.train(), stack_tasks([regression(0)]))
    batched, _ = meta_gradient(learner, stack_tasks([regression(0), regression(1)]))
    start = linear().weight.detach()
    torch.testing.assert_close(start - ALPHA * serial["body.model.weight"], adapted[0], **CLOSE)
    torch.testing.assert_close(start - ALPHA * batched["body.model.weight"], sum(adapted) / 2, **CLOSE)


def test_meta_sgd() -> None:
    """w' = w − α ⊙ g: dL/dw = (I − H diag α) q and dL/dα = −g ⊙ q, q the query gradient at w'."""
    learner, task = MetaSGD(linear(), **options()), Quadratic(regression(0))
    with torch.no_grad():
        learner.rule.rates["weight"].copy_(draw(1, INPUTS, seed=5))
    w, rates = linear().weight.detach().T, draw(1, INPUTS, seed=5).T
    slope = task.slope(w)
    query = task.query(w - rates * slope)
    got = both(learner)
    torch.testing.assert_close(got["body.model.weight"].T, query - task.hessian @ (rates * query), **CLOSE)
    torch.testing.assert_close(got["rule.rates.weight"].T, -slope * query, **CLOSE)


def test_meta_curvature() -> None:
    """w' = w − α M g: dL/dw = (I − α H Mᵀ) q and dL/dM = −α q gᵀ."""
    learner, task = MetaCurvature(linear(), **options()), Quadratic(regression(0))
    matrix = draw(INPUTS, INPUTS, seed=5)
    with torch.no_grad():
        learner.rule.matrices["weight:1"].copy_(matrix)
    w = linear().weight.detach().T
    slope = task.slope(w)
    query = task.query(w - ALPHA * matrix @ slope)
    got = both(learner)
    torch.testing.assert_close(got["body.model.weight"].T, query - ALPHA * task.hessian @ matrix.T @ query, **CLOSE)
    torch.testing.assert_close(got["rule.matrices.weight:1"], -ALPHA * query @ slope.T, **CLOSE)
    torch.testing.assert_close(got["rule.matrices.weight:0"], -ALPHA * query.T @ matrix @ slope, **CLOSE)


@pytest.mark.parametrize("unroll", ["graph", "steps"])
def test_maml_pp_multi_step_loss_and_rates(unroll: str) -> None:
    """Half way through the annealing of two steps the shares are 1/4 and 3/4."""
    learner = MAMLPlusPlus(linear(), inner_steps=2, multi_step_until=10, unroll=unroll, **options())
    learner.meta_steps += 5
    with torch.no_grad():
        learner.rule.rates.copy_(torch.tensor([[0.1, 0.3]], dtype=torch.float64))
    task, identity = Quadratic(regression(0)), torch.eye(INPUTS, dtype=torch.float64)
    w = linear().weight.detach().T
    first, step = task.slope(w), identity - 0.1 * task.hessian
    w1 = w - 0.1 * first
    second = task.slope(w1)
    q1, q2 = task.query(w1), task.query(w1 - 0.3 * second)
    at_w1 = q1 / 4 + 3 / 4 * (identity - 0.3 * task.hessian) @ q2
    got = both(learner)
    torch.testing.assert_close(got["body.model.weight"].T, step @ at_w1, **CLOSE)
    rates = torch.stack([-(first * at_w1).sum(), -3 / 4 * (second * q2).sum()])[None]
    torch.testing.assert_close(got["rule.rates"], rates, **CLOSE)


def two_layers(seed: int = 3) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(INPUTS, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    for i, p in enumerate(net.parameters()):
        p.data = draw(*p.shape, seed=seed + i)
    return net


def run(theta: list[Tensor], x: Tensor) -> Tensor:
    w1, b1, w2, b2 = theta
    return torch.tanh(x @ w1.T + b1) @ w2.T + b2


def by_autograd(adapt: Callable[[list[Tensor], Tensor, Tensor], Callable[[Tensor], Tensor]]) -> list[Tensor]:
    """The gradient of the query loss in all weights of `two_layers`, adapted by a formula."""
    theta, task = [p.detach().clone().requires_grad_() for p in two_layers().parameters()], regression(0)
    predict = adapt(theta, task.support.inputs, task.support.targets)
    return list(torch.autograd.grad(F.mse_loss(predict(task.query.inputs), task.query.targets), theta))


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize("steps", [1, 3])
def test_anil_and_boil_adapt_their_part(part: str, steps: int) -> None:
    places = [2, 3] if part == "head" else [0, 1]

    def adapt(theta: list[Tensor], x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        now = list(theta)
        for _ in range(steps):
            slopes = torch.autograd.grad(F.mse_loss(run(now, x), y), [now[i] for i in places], create_graph=True)
            for i, slope in zip(places, slopes, strict=True):
                now[i] = now[i] - ALPHA * slope
        return lambda z: run(now, z)

    learner = (ANIL if part == "head" else BOIL)(two_layers(), inner_steps=steps, **options())
    torch.testing.assert_close([both(learner)[f"body.model.{n}"] for n in names()], by_autograd(adapt), **CLOSE)


def names() -> list[str]:
    return [name for name, _ in two_layers().named_parameters()]


def test_cavia_with_a_shift_appends_the_context_to_the_inputs() -> None:
    learner = CAVIA(two_layers(), inner_steps=2, context_size=2, condition="shift", layers="first", **options())
    columns = learner.conditioning["0"].detach().T  # [3, 2]: the first layer's weights for the context

    def appended(theta: list[Tensor], x: Tensor, context: Tensor) -> Tensor:
        wide = torch.cat([x, context.expand(len(x), -1)], 1)
        return run([torch.cat([theta[0], columns], 1), *theta[1:]], wide)

    def adapt(theta: list[Tensor], x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        context = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        for _ in range(2):
            loss = F.mse_loss(appended(theta, x, context), y)
            (slope,) = torch.autograd.grad(loss, context, create_graph=True)
            context = context - ALPHA * slope
        return lambda z: appended(theta, z, context)

    got = both(learner)
    torch.testing.assert_close([got[f"body.model.{n}"] for n in names()], by_autograd(adapt), **CLOSE)
    assert set(learner.initial(None)) == {"context"}


def test_cavia_conditions_norm_layers_where_there_are_some() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    learner = CAVIA(net.double(), context_size=2)
    assert learner.sites == ("1",)
    context = draw(2, seed=1)
    scale, shift = (context @ learner.conditioning["1"]).chunk(2)
    norm = learner.body.model[1]
    x = draw(3, 1, 4, 4, seed=2)
    y = norm(learner.body.model[0](x))
    expected = learner.body.model[3](((1 + scale)[:, None, None] * y + shift[:, None, None]).flatten(1))
    got, _ = learner.body(learner.all_weights({"context": context}), x)
    torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("norm", ["query-batch", "support", "running"])
def test_anil_computes_features_once_for_the_same_gradient(norm: str) -> None:
    """Against the general inner loop, which runs the whole network in every step."""

    class Body(nn.Sequential):
        features = 3

    body = Body(nn.Linear(INPUTS, 3), nn.BatchNorm1d(3), nn.Tanh())
    model = Classifier(body, 1).double()
    for i, p in enumerate(model.parameters()):
        p.data = draw(*p.shape, seed=i)
    choices = {"inner_steps": 3, "norm": norm, "objective": MeanSquaredError()}
    fast = ANIL(model, ALPHA, **choices)
    general = GradientLearner(model, fast.rule, adapt="head", **choices)
    for mode in (True, False):
        got, outcome = fast.train(mode).task_gradient(regression(0))
        expected, expected_outcome = general.train(mode).task_gradient(regression(0))
        torch.testing.assert_close({k: got[k] for k in expected}, expected, **CLOSE)
        torch.testing.assert_close(outcome.prediction, expected_outcome.prediction, **CLOSE)
        torch.testing.assert_close(outcome.buffers, expected_outcome.buffers, **CLOSE)


@pytest.mark.parametrize(
    ("learner", "lr", "scale"),
    [
        (lambda model, **choices: MetaSGD(model, 0.1, **choices), 0.1, 1.0),
        (lambda model, **choices: MAMLPlusPlus(model, 0.1, 1, **choices), 0.1, 1.0),
        (lambda model, **choices: MetaCurvature(model, 0.1, **choices), 1.0, 0.1),
    ],
    ids=["meta_sgd", "maml_pp", "meta_curvature"],
)
def test_learned_rules_find_the_rate_that_adapts_in_one_step(
    learner: Callable[..., GradientLearner], lr: float, scale: float
) -> None:
    """Tasks y = a·x at x = ±1: the support gradient is 2(w − a), so a rate of 1/2 finds every a at once."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    trained = learner(model, objective=MeanSquaredError())
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    tasks = stack_tasks([Task(Examples(x, a * x), Examples(x, a * x)) for a in (-1.0, 1.0)])
    for _ in range(30):
        gradients, outcome = meta_gradient(trained, tasks)
        for name, p in trained.named_parameters():
            p.data -= lr * gradients[name]
    assert float(outcome.loss) < 1e-8
    rule = [p.detach().prod() for name, p in trained.named_parameters() if name.startswith("rule")]
    assert scale * float(torch.stack(rule).prod()) == pytest.approx(0.5, abs=1e-4)
