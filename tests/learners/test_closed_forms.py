"""Learners against formulas written out by hand and against torch.optim."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.transfer.fine_tuning import FineTuning
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def small(seed: int) -> Task:
    return blobs(seeded(seed), shape=(3, 2, 2))


def regression(seed: int) -> Task:
    g = seeded(seed)
    x, z = (torch.randn(n, 4, generator=g, dtype=torch.float64) for n in (5, 7))
    y, t = (torch.randn(n, 1, generator=g, dtype=torch.float64) for n in (5, 7))
    return Task(Examples(x, y), Examples(z, t))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("strategy", strategy_names())
def test_maml_on_a_linear_model(order: int, strategy: str) -> None:
    """One step on squared loss: w' = w − αg, dL/dw = (I − αH_s) · 2/m Zᵀ(Zw' − t); order 1 leaves out αH_s."""
    alpha, learner = 0.1, MAML(nn.Linear(4, 1, bias=False).double(), 0.1, order=order, objective=MeanSquaredError())
    w = learner.body.model.weight.detach().T
    expected, loss = torch.zeros(4, 1, dtype=torch.float64), 0.0
    batch = [regression(i) for i in range(3)]
    for task in batch:
        x, y, z, t = task.support.inputs, task.support.targets, task.query.inputs, task.query.targets
        adapted = w - alpha * 2 / len(x) * x.T @ (x @ w - y)
        hessian = 2 / len(x) * x.T @ x if order == 2 else torch.zeros(4, 4, dtype=torch.float64)
        expected += (torch.eye(4, dtype=torch.float64) - alpha * hessian) @ (2 / len(z) * z.T @ (z @ adapted - t))
        loss += float(((z @ adapted - t) ** 2).mean())
    gradients, outcome = meta_gradient(learner, stack_tasks(batch), strategy=strategy, reduction="sum")
    torch.testing.assert_close(gradients["body.model.weight"].T, expected, rtol=1e-12, atol=1e-12)
    assert float(outcome.loss) == pytest.approx(loss, rel=1e-12)


def run(parameters: list[Tensor], task_inputs: Tensor) -> Tensor:
    w1, b1, w2, b2 = parameters
    return torch.tanh(task_inputs.flatten(1) @ w1.T + b1) @ w2.T + b2


def test_the_missions_formula() -> None:
    """Query = support and reduction "sum": L(θ) = Σ_i L_i(θ − α∇L_i(θ))."""
    alpha, net = 0.3, network()
    tasks = [Task(t.support, t.support) for t in map(small, range(3))]
    learner = MAML(net, alpha)
    names = list(learner.meta_parameters())

    def formula(*theta: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for task in tasks:
            x, y = task.support.inputs, task.support.targets
            inner = torch.autograd.grad(F.cross_entropy(run(list(theta), x), y), theta, create_graph=True)
            adapted = [p - alpha * g for p, g in zip(theta, inner, strict=True)]
            total = total + F.cross_entropy(run(adapted, x), y)
        return total

    def library(*theta: Tensor) -> Tensor:
        phi = dict(zip(names, theta, strict=True))
        return torch.stack([learner.call(phi, "loss", task).loss for task in tasks]).sum()

    theta = [p.detach().clone().requires_grad_() for p in net.parameters()]
    assert torch.autograd.gradcheck(library, theta, atol=1e-7, rtol=1e-6)
    expected = torch.autograd.grad(formula(*theta), theta)
    for strategy in strategy_names():
        gradients, outcome = meta_gradient(learner, stack_tasks(tasks), strategy=strategy, reduction="sum")
        torch.testing.assert_close(outcome.loss, formula(*theta).detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close([gradients[n] for n in names], list(expected), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("strategy", strategy_names())
def test_first_order_equals_fomaml_by_hand(steps: int, strategy: str) -> None:
    """The gradient of the query loss at the adapted weights, which torch.optim.SGD finds too."""
    net, task = network(), small(0)
    expected_net = copy.deepcopy(net)
    optimizer = torch.optim.SGD(expected_net.parameters(), lr=0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(expected_net(task.support.inputs), task.support.targets).backward()
        optimizer.step()
    loss = F.cross_entropy(expected_net(task.query.inputs), task.query.targets)
    expected = torch.autograd.grad(loss, list(expected_net.parameters()))
    gradients, outcome = meta_gradient(MAML(net, 0.3, steps, order=1), stack_tasks([task]), strategy=strategy)
    torch.testing.assert_close(outcome.loss, loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(list(gradients.values()), list(expected), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_maml_adapts_as_sgd(steps: int) -> None:
    net, task = network(), small(0)
    state = MAML(net, 0.3, steps).adapt(task.support)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(task.support.inputs), task.support.targets).backward()
        optimizer.step()
    for name, expected in net.named_parameters():
        torch.testing.assert_close(state["weights"][name], expected, rtol=1e-12, atol=1e-14)


def test_evaluation_may_take_other_steps() -> None:
    net, task = network(), small(0)
    learner = MAML(net, 0.3, inner_steps=1, eval_steps=3)
    expected = MAML(net, 0.3, 3).adapt(task.support)["weights"]
    torch.testing.assert_close(learner.eval().adapt(task.support)["weights"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("tune", ["all", "head"])
def test_fine_tuning_equals_sgd_step_by_step(steps: int, tune: str) -> None:
    body, task = network()[:3], small(0)
    head = nn.Linear(5, 3).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    state = FineTuning(body, 5, tune_lr=0.4, tune_steps=steps, tune=tune).adapt(task.support)
    net = nn.Sequential(copy.deepcopy(body), head)
    optimizer = torch.optim.SGD(head.parameters() if tune == "head" else net.parameters(), lr=0.4)
    for _ in range(steps):
        net.zero_grad()
        F.cross_entropy(net(task.support.inputs), task.support.targets).backward()
        optimizer.step()
    expected = {f"body.{n}": p for n, p in net[0].named_parameters()}
    expected |= {f"head.{n}": p for n, p in head.named_parameters()}
    assert set(state["weights"]) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(state["weights"][name], value, rtol=1e-12, atol=1e-14)


def test_protonet_with_identity_is_a_linear_classifier() -> None:
    """−‖x − c‖² = 2x·c − ‖c‖² + something that all classes share."""
    task = blobs(seeded(), shape=(5,))
    learner = ProtoNet(nn.Identity())
    means = torch.stack([task.support.inputs[task.support.targets == c].mean(0) for c in range(3)])
    linear = 2 * task.query.inputs @ means.T - (means**2).sum(1)
    logits = learner.predict(learner.adapt(task.support), task.query.inputs)
    torch.testing.assert_close(logits.log_softmax(-1), linear.log_softmax(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits, -(torch.cdist(task.query.inputs, means) ** 2), rtol=1e-10, atol=1e-10)


def test_protonet_with_cosine_is_scaled_similarity() -> None:
    task = blobs(seeded(), shape=(5,))
    learner = ProtoNet(nn.Identity(), distance="cosine", scale=3.0)
    means = torch.stack([task.support.inputs[task.support.targets == c].mean(0) for c in range(3)])
    expected = 3 * F.cosine_similarity(task.query.inputs[:, None], means[None], dim=-1)
    torch.testing.assert_close(learner.predict(learner.adapt(task.support), task.query.inputs), expected)


def test_nearest_neighbour_by_hand() -> None:
    task = blobs(seeded(), shape=(5,))
    distances = torch.cdist(task.query.inputs, task.support.inputs)
    expected = task.support.targets[distances.argmin(1)]
    learner = NearestNeighbour()
    assert torch.equal(learner.predict(learner.adapt(task.support), task.query.inputs).argmax(1), expected)
