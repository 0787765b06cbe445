"""bf16 and TF32: what is rounded, what is not, and who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import metacortex.engine.compiled as compiled
import metacortex.engine.precision as precision_module
from metacortex.engine.gradient import evaluate_tasks, meta_gradient
from metacortex.engine.precision import autocasting, check_precision, precision_note, rounding
from metacortex.errors import SettingsError
from metacortex.learners.base import Gradients, Learner
from metacortex.learners.registry import make_learner
from metacortex.nn.norm import BatchNorm, InstanceNorm, LayerNorm, fused_kernels
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs

CPU = torch.device("cpu")
LEARNERS: dict[str, dict[str, Any]] = {
    "maml": {"inner_steps": 1},
    "meta_sgd": {"inner_steps": 3},
    "fomaml": {"inner_steps": 2},
    "r2d2": {},
}


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded graphs run as they are: machine code of every strategy would take a minute."""
    monkeypatch.setattr(compiled, "_machine_code", lambda recorded, cpp_wrapper: recorded.run)


def batch() -> Task:
    generators = (torch.Generator().manual_seed(i) for i in range(2))
    return stack_tasks([blobs(g, way=3, shot=2, queries=3, shape=(1, 8, 8)).to(torch.float32) for g in generators])


def learner_of(name: str) -> Learner:
    torch.manual_seed(0)
    body = {"channels": 8, "blocks": 2}
    return make_learner(name, input_shape=(1, 8, 8), way=3, backbone_options=body, **LEARNERS[name]).train()


def flat(gradients: Gradients) -> torch.Tensor:
    return torch.cat([g.flatten() for _, g in sorted(gradients.items())])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("strategy", ["loop", "vmap", "compile", "compile-vmap"])
@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_bf16_is_close_to_float32_and_gives_float32(name: str, strategy: str) -> None:
    learner, tasks = learner_of(name), batch()
    exact, _ = meta_gradient(learner, tasks)
    rounded, outcome = meta_gradient(learner, tasks, strategy=strategy, precision="bf16")
    assert {g.dtype for g in rounded.values()} == {torch.float32} == {outcome.prediction.dtype, outcome.loss.dtype}
    a, b = flat(exact), flat(rounded)
    assert not torch.equal(a, b)
    assert float(torch.cosine_similarity(a, b, 0)) > 0.99
    again, _ = meta_gradient(learner, tasks, strategy=strategy)
    torch.testing.assert_close(again, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_machine_code_of_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    learner = make_learner("maml", input_shape=(4,), way=3, backbone="mlp", inner_steps=1).train()
    tasks = stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(4,)).to(torch.float32) for i in range(2)])
    expected, _ = meta_gradient(learner, tasks, precision="bf16")
    got, _ = meta_gradient(learner, tasks, strategy="compile", precision="bf16")
    assert float(torch.cosine_similarity(flat(got), flat(expected), 0)) > 0.99


@pytest.mark.usefixtures("interpreted")
def test_threads_compute_in_the_same_precision() -> None:
    learner, tasks = learner_of("maml"), batch()
    for strategy in ("loop", "compile"):
        alone, _ = meta_gradient(learner, tasks, precision="bf16", strategy=strategy)
        shared, _ = meta_gradient(learner, tasks, precision="bf16", strategy=strategy, workers=2)
        torch.testing.assert_close(shared, alone, rtol=2e-2, atol=1e-3)


def test_doubles_are_not_rounded() -> None:
    learner, tasks = learner_of("maml").double(), batch().to(torch.float64)
    expected, _ = meta_gradient(learner, tasks)
    got, _ = meta_gradient(learner, tasks, precision="bf16")
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_evaluation_in_bf16() -> None:
    learner, tasks = learner_of("r2d2"), batch()
    exact, rounded = evaluate_tasks(learner, tasks), evaluate_tasks(learner, tasks, precision="bf16")
    assert not torch.equal(exact.prediction, rounded.prediction)
    torch.testing.assert_close(exact.prediction, rounded.prediction, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("norm", [BatchNorm(3).train(), BatchNorm(3).eval(), LayerNorm((8, 8)), InstanceNorm(3)])
def test_norms_take_means_in_float32(norm: nn.Module, fused: bool) -> None:
    """Means of 100 with a spread of 1: bfloat16 knows only 100, 100.5 and 101."""
    x = (100 + torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.no_grad(), fused_kernels(fused):
        got, expected = norm(x), norm(x.float())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=1e-2, atol=1e-2)


def test_what_there_is_not_is_refused() -> None:
    learner, tasks = learner_of("maml"), batch()
    with pytest.raises(SettingsError, match="did you mean 'bf16'"):
        meta_gradient(learner, tasks, precision="bf61")
    with pytest.raises(SettingsError, match="tf32 needs an NVIDIA GPU, this run is on cpu"):
        evaluate_tasks(learner, tasks, precision="tf32")
    check_precision("bf16", CPU)


@pytest.mark.parametrize(("flags", "said"), [({"sse", "avx512_bf16"}, False), ({"sse"}, True), (None, False)])
def test_a_processor_without_units_is_noted(
    monkeypatch: pytest.MonkeyPatch, flags: set[str] | None, said: bool
) -> None:
    monkeypatch.setattr(precision_module, "processor_flags", lambda: flags)
    note = precision_note("bf16", CPU)
    assert (note is not None and "slower than float32" in note) == said
    assert precision_note("float32", CPU) is None


def test_nothing_is_left_behind() -> None:
    with autocasting("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
    with autocasting("float32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    before = torch.backends.cudnn.deterministic
    with rounding("tf32", CPU):
        assert torch.backends.cudnn.deterministic == before
