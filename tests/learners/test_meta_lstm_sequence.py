"""An LSTM that reads labelled examples and writes an LSTM: sequence classification and regression."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metacortex.engine.gradient import evaluate_tasks, meta_gradient
from metacortex.learners.base import Learner
from metacortex.learners.registry import make_learner
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap


def learner(kind: str = "classification", shape: tuple[int, ...] = (6, 2), **options: object) -> Learner:
    torch.manual_seed(0)
    way = 2 if kind == "classification" else 1
    return make_learner(
        "meta_lstm_sequence",
        kind=kind,  # type: ignore[arg-type]
        input_shape=shape,
        way=way,
        backbone="lstm",
        backbone_options={"hidden": 12},
        **{"code": 16, "rank": 4, **options},
    )


def which_channel(seed: int, *, flip: bool = False, count: int = 8) -> Task:
    """Sequences of two channels. A class is the sign of the mean of one of them; examples say which one it is."""
    g = torch.Generator().manual_seed(seed)
    channel = int(torch.randint(0, 2, (1,), generator=g))

    def sample() -> tuple[Tensor, Tensor]:
        levels = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(count // 4, 1)
        x = levels[:, None] + 0.3 * torch.randn(count, 6, 2, generator=g)
        return x, (levels[:, channel] > 0).long()

    (x, y), (z, t) = sample(), sample()
    task = Task.classification(x, y, z, t, way=2)
    # The labels that the other channel would give.
    other = (x.mean(1)[:, 1 - channel] > 0).long()
    return replace(task, support=replace(task.support, targets=other)) if flip else task


def sines(seed: int, *, flip: bool = False, count: int = 10) -> Task:
    """y = A sin(x + p) for x in −3 … 3, one number read as a sequence of length one."""
    g = torch.Generator().manual_seed(seed)
    size, phase = 0.5 + 1.5 * torch.rand(1, generator=g), 3.14 * torch.rand(1, generator=g)
    x, z = (6 * torch.rand(count, 1, generator=g) - 3 for _ in range(2))
    sign = -1.0 if flip else 1.0
    return Task(Examples(x, sign * size * torch.sin(x + phase)), Examples(z, size * torch.sin(z + phase)))


def trained(made: Learner, family, steps: int, tasks: int = 16) -> Learner:
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    for step in range(steps):
        batch = stack_tasks([family(tasks * step + i) for i in range(tasks)])
        gradients, _ = meta_gradient(made.train(), batch, strategy="vmap")
        for name, p in made.named_parameters():
            p.grad = gradients[name]
        optimizer.step()
    return made


def score(made: Learner, family, metric: str, *, flip: bool = False) -> float:
    batch = stack_tasks([family(10**6 + i, flip=flip) for i in range(32)])
    return float(evaluate_tasks(made, batch).metrics[metric].mean())


def test_sequence_classification_follows_the_examples() -> None:
    made = trained(learner(), which_channel, 120)
    assert score(made, which_channel, "accuracy") > 0.9
    assert score(made, which_channel, "accuracy", flip=True) < 0.6


def test_regression_follows_the_examples() -> None:
    made = trained(learner("regression", (1,)), sines, 200)
    variance = torch.stack([sines(10**6 + i).query.targets.pow(2).mean() for i in range(32)]).mean()
    assert score(made, sines, "mse") < 0.25 * float(variance)
    assert score(made, sines, "mse", flip=True) > float(variance)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_gradient_through_the_generated_network(strategy: str) -> None:
    made = learner().double()
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn_like(p)
    tasks = [which_channel(i).to(torch.float64) for i in range(2)]
    gradients, _ = meta_gradient(made, stack_tasks(tasks), strategy=strategy, reduction="sum")
    assert finite_difference_gap(made, tasks, gradients) < 1e-7


def test_any_number_of_classes_in_any_order() -> None:
    made = learner(shape=(3, 6, 6)).eval()
    task = blobs(torch.Generator().manual_seed(0)).to(torch.float32)
    logits = made.predict(made.adapt(task.support), task.query.inputs)
    assert logits.shape == (6, 3)
    turned = replace(task.support, targets=(task.support.targets + 1) % 3)
    torch.testing.assert_close(made.predict(made.adapt(turned), task.query.inputs), logits.roll(1, 1))
