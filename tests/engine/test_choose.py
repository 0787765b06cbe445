"""The choice of a strategy: the fastest that works, and compiling only where a run is long enough."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import metacortex.engine.choose as choose
from metacortex.engine.choose import choose_strategy
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.objective import MeanSquaredError
from metacortex.task import Examples, Task


def batch() -> Task:
    x = torch.linspace(-1, 1, 12).reshape(3, 4, 1)
    return Task(Examples(x, x.sin()), Examples(x, x.sin()))


def maml(net: nn.Module | None = None) -> MAML:
    return MAML(net or nn.Linear(1, 1), 0.01, 1, objective=MeanSquaredError())


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What each strategy takes."""
    taken = {"loop": 2.0, "vmap": 1.0, "compile": 0.5, "compile-vmap": 0.25}
    monkeypatch.setattr(choose, "_time", lambda learner, batch, strategy, *others: taken[strategy])
    return taken


def test_the_fastest_of_a_real_measurement_and_nothing_changes() -> None:
    learner = maml()
    before, state = {k: v.clone() for k, v in learner.state_dict().items()}, torch.get_rng_state()
    choice = choose_strategy(learner, batch(), steps=10)
    assert set(choice.seconds) == {"loop", "vmap"}
    assert choice.strategy == min(choice.seconds, key=lambda name: choice.seconds[name])
    assert "too short" in choice.reasons["compile"]
    assert str(choice).startswith(f"strategy {choice.strategy} (")
    torch.testing.assert_close(dict(learner.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_compiling_is_tried_in_long_runs_only(seconds: dict[str, float]) -> None:
    assert choose_strategy(maml(), batch(), steps=1000).strategy == "vmap"
    assert choose_strategy(maml(), batch(), steps=2000).strategy == "compile-vmap"
    assert choose_strategy(maml(), batch(), seconds=3600).strategy == "compile-vmap"
    seconds["vmap"] = 3.0
    long = choose_strategy(maml(), batch(), steps=2000)
    assert (long.strategy, "compile-vmap" in long.seconds) == ("compile", False)
    assert long.to_json()["seconds"]["compile"] == 0.5


class _Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * float(x.sum() < 100)


def test_a_strategy_that_fails_is_not_taken() -> None:
    choice = choose_strategy(maml(_Unbatched()), batch(), steps=10)
    assert choice.strategy == "loop"
    assert choice.reasons["vmap"]


def test_a_learner_that_fails_everywhere_says_why() -> None:
    class Broken(MAML):
        def adapt(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("broken")

        def loss(self, task: Task) -> Any:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        choose_strategy(Broken(nn.Linear(1, 1), 0.1), batch(), steps=10)
