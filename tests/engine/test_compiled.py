"""Compiled meta-gradients: the same numbers, every shape once, and a reason where it cannot be done."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import metacortex.engine.compiled as compiled
from metacortex.engine.compiled import CompileWarning, compile_report
from metacortex.engine.gradient import meta_gradient
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.objective import MeanSquaredError
from metacortex.task import Examples, Task


def sines(count: int = 3, shots: int = 4) -> Task:
    x = torch.rand(count, shots, 1, generator=torch.Generator().manual_seed(shots), dtype=torch.float64) * 10 - 5
    return Task(Examples(x, x.sin()), Examples(x + 1, (x + 1).sin()))


def maml(**choices: Any) -> MAML:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return MAML(net, 0.01, 1, objective=MeanSquaredError(), **choices)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded graphs run as they are: what is tested is how they are kept, checked and shared out."""
    monkeypatch.setattr(compiled, "_machine_code", lambda recorded, cpp_wrapper: recorded.run)


def same_as_the_loop(strategy: str) -> None:
    learner = maml()
    expected, outcome = meta_gradient(learner, sines())
    for _ in range(2):
        got, seen = meta_gradient(learner, sines(), strategy=strategy)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close((seen.loss, seen.prediction), (outcome.loss, outcome.prediction))
    report = compile_report(learner, strategy)
    assert (report.graphs, report.reason) == (1, None)
    assert report.seconds > 0 < report.operations


def test_machine_code_gives_the_gradient_of_the_loop(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    same_as_the_loop("compile-vmap")


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("strategy", ["compile", "compile-vmap"])
def test_recorded_graphs_give_the_gradient_of_the_loop(strategy: str) -> None:
    same_as_the_loop(strategy)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_share_the_tasks(workers: int) -> None:
    learner = maml()
    expected, outcome = meta_gradient(learner, sines())
    got, seen = meta_gradient(learner, sines(), strategy="compile", workers=workers)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(seen.prediction, outcome.prediction)


@pytest.mark.usefixtures("interpreted")
def test_a_graph_for_every_shape_up_to_a_limit() -> None:
    learner = maml()
    for shots in (*range(1, 9), *range(1, 9)):
        meta_gradient(learner, sines(shots=shots), strategy="compile")
    assert compile_report(learner, "compile").graphs == 8
    with pytest.warns(CompileWarning, match="more than 8 different shapes"):
        got, _ = meta_gradient(learner, sines(shots=9), strategy="compile")
    torch.testing.assert_close(got, meta_gradient(learner, sines(shots=9))[0])


@pytest.mark.usefixtures("interpreted")
def test_the_reason_is_said_once() -> None:
    net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    learner = MAML(net, 0.01, 1, objective=MeanSquaredError())
    with pytest.warns(CompileWarning, match="'maml' without compiling: it draws random numbers"):
        meta_gradient(learner, sines(), strategy="compile")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient, _ = meta_gradient(learner, sines(), strategy="compile")
    assert all(x.isfinite().all() for x in gradient.values())


def test_where_kernels_cannot_be_called_from_cpp_python_calls_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fails_with_cpp(recorded: Any, cpp_wrapper: bool) -> Any:
        tried.append(cpp_wrapper)
        return None if cpp_wrapper else recorded.run

    monkeypatch.setattr(compiled, "_machine_code", fails_with_cpp)
    learner = maml()
    got, _ = meta_gradient(learner, sines(), strategy="compile")
    torch.testing.assert_close(got, meta_gradient(learner, sines())[0])
    assert tried == [True, False]


def test_a_compiler_that_fails_and_one_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*tensors: torch.Tensor) -> list[torch.Tensor]:
        raise RuntimeError("no C++ compiler found\nmore lines")

    monkeypatch.setattr(compiled, "_machine_code", lambda recorded, cpp_wrapper: broken)
    learner = maml()
    with pytest.warns(CompileWarning, match="the compiler failed \\(no C\\+\\+ compiler found\\)"):
        got, _ = meta_gradient(learner, sines(), strategy="compile")
    torch.testing.assert_close(got, meta_gradient(learner, sines())[0])

    def lying(recorded: Any, cpp_wrapper: bool) -> Any:
        return lambda *x: [1.001 * y for y in recorded.run(*x)]

    monkeypatch.setattr(compiled, "_machine_code", lying)
    other = maml()
    with pytest.warns(CompileWarning, match="differs by 1.0e-03"):
        meta_gradient(other, sines(), strategy="compile")
    assert "differs" in str(compile_report(other, "compile").reason)
