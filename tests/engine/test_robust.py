"""Second order through whatever models are made of: each strategy gives the gradient, or the loop's and one reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import metacortex.engine.compiled as compiled
from metacortex.engine.choose import choose_strategy
from metacortex.engine.gradient import MappingWarning, meta_gradient
from metacortex.engine.precision import PrecisionWarning
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.maml import MAML
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap
from metacortex.updates.adam import Adam


class Attention(nn.Module):
    """Stock attention; inputs ``[N, 3, 4]``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.attention(x, x, x, need_weights=False)[0]).flatten(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cells, self.head = kind(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(x)[0][:, -1])


class Tied(nn.Module):
    """Two layers of one matrix, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(12, 3)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).flatten(1))


class Dropping(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3))


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "encoder": Encoder,
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "tied and unused": Tied,
    "adam inside": Plain,
}
NOT_MAPPED = {"lstm", "gru"}
"""Stock recurrent cells write into tensors in a way that vmap does not know."""


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded graphs run as they are: machine code of all of these would take minutes."""
    monkeypatch.setattr(compiled, "_machine_code", lambda recorded, cpp_wrapper: recorded.run)


def tasks() -> list[Task]:
    return [blobs(torch.Generator().manual_seed(i), shape=(3, 4)) for i in range(2)]


def learner_of(name: str, steps: int) -> GradientLearner:
    torch.manual_seed(0)
    model = MODELS[name]().double()
    if name == "adam inside":
        return GradientLearner(model, Adam(0.05, eps=1e-4), inner_steps=steps)
    return MAML(model, 0.2, steps)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_the_loop_is_the_derivative(name: str, steps: int) -> None:
    learner = learner_of(name, steps)
    gradients, _ = meta_gradient(learner, stack_tasks(tasks()), reduction="sum")
    assert finite_difference_gap(learner, tasks(), gradients, directions=2) < 1e-7


@pytest.mark.parametrize(("strategy", "steps"), [("vmap", 1), ("vmap", 3), ("compile", 3), ("compile-vmap", 1)])
@pytest.mark.parametrize("name", MODELS)
def test_every_strategy_gives_the_gradient_of_the_loop(name: str, steps: int, strategy: str) -> None:
    learner, batch = learner_of(name, steps), stack_tasks(tasks())
    expected, _ = meta_gradient(learner, batch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            got, _ = meta_gradient(learner, batch, strategy=strategy)
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    reasons = 1 if name in NOT_MAPPED and "vmap" in strategy else 0
    assert [str(w.message) for w in said if f"strategy '{strategy}'" not in str(w.message)] == []
    assert len(said) == reasons


@pytest.mark.parametrize("name", MODELS)
def test_rounded_products(name: str) -> None:
    learner, batch = learner_of(name, 1).float(), stack_tasks(tasks()).to(torch.float32)
    exact, _ = meta_gradient(learner, batch)
    for strategy in ("loop", "vmap"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MappingWarning)
            warnings.simplefilter("ignore", PrecisionWarning)  # no recurrent cells in bfloat16 without AVX-512
            rounded, _ = meta_gradient(learner, batch, strategy=strategy, precision="bf16")
        a, b = (torch.cat([g[n].flatten() for n in sorted(exact)]) for g in (exact, rounded))
        assert float(torch.cosine_similarity(a, b, 0)) > 0.99


@pytest.mark.parametrize("strategy", ["compile", "compile-vmap"])
def test_dropout_is_not_compiled_and_says_so_once(strategy: str) -> None:
    torch.manual_seed(0)
    learner, batch = MAML(Dropping().double(), 0.2, 1), stack_tasks(tasks())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            meta_gradient(learner, batch, strategy=strategy)
    assert len(said) == 1
    assert "random numbers" in str(said[0].message)


def test_auto_does_not_take_what_cannot_be_mapped() -> None:
    choice = choose_strategy(learner_of("lstm", 1), stack_tasks(tasks()), steps=1, repeats=1)
    assert choice.strategy == "loop"
    assert "cannot be computed for all tasks at once" in choice.reasons["vmap"]


def test_what_is_wrong_in_itself_is_said_as_it_is() -> None:
    learner = MAML(nn.Sequential(nn.Flatten(), nn.Linear(11, 3)).double(), 0.2, 1)
    with pytest.warns(MappingWarning), pytest.raises(RuntimeError, match="mat1 and mat2"):
        meta_gradient(learner, stack_tasks(tasks()), strategy="vmap")
