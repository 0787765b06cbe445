"""A GPU gives what the CPU gives: every strategy, task drawing, training, checkpoints."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from metacortex.engine.choose import choose_strategy
from metacortex.engine.compiled import CompileWarning, compile_report
from metacortex.engine.gradient import evaluate_tasks, meta_gradient, strategy_names
from metacortex.engine.graphs import GraphWarning
from metacortex.evaluation.run import evaluate_run
from metacortex.learners.base import Learner
from metacortex.learners.registry import make_learner
from metacortex.runs.checkpoint import load_checkpoint
from metacortex.runs.folder import RunFolder
from metacortex.runs.images import ImageDomain
from metacortex.settings import merge
from metacortex.task import Task, stack_tasks
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.placed import place
from metacortex.tasks.warp import Warped
from metacortex.testing import blobs
from metacortex.training.progress import TrainingEvent
from metacortex.training.run import train
from tests.engine.test_robust import MODELS
from tests.engine.test_robust import learner_of as model_learner
from tests.engine.test_robust import tasks as model_tasks
from tests.tasks.conftest import assert_same, make_views
from tests.training.crash_driver import toy_data, toy_settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CUDA = torch.device("cuda")
STRIDES = {"channels": 6, "blocks": 3, "reduction": "stride"}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "maml order 2": ("maml", {"inner_steps": 1}),
    "maml order 2, stepwise": ("maml", {"inner_steps": 3}),
    "maml order 2, folded": ("maml", {"inner_steps": 1, "backbone_options": {"channels": 6, "blocks": 2}}),
    "maml order 2, strides": ("maml", {"inner_steps": 1, "backbone_options": STRIDES}),
    "maml order 2, strides, statistics of the support set": (
        "maml",
        {"inner_steps": 2, "norm": "support", "backbone_options": STRIDES},
    ),
    "maml order 2, strides, no norm": ("maml", {"inner_steps": 1, "backbone_options": {**STRIDES, "norm": "none"}}),
    "maml order 1": ("maml", {"inner_steps": 2, "order": 1}),
    "anil": ("anil", {"inner_steps": 2}),
    "protonet": ("protonet", {}),
    "meta_sgd": ("meta_sgd", {"inner_steps": 2}),
}


def batch(count: int = 3, seed: int = 0) -> Task:
    generators = (torch.Generator().manual_seed(seed + i) for i in range(count))
    return stack_tasks([blobs(g, way=3, shot=1, queries=2, shape=(1, 8, 8)) for g in generators]).without_info()


def learner_of(case: str) -> Learner:
    name, options = LEARNERS[case]
    torch.manual_seed(0)
    options = {"backbone_options": {"channels": 4, "blocks": 2}, **options}
    return make_learner(name, input_shape=(1, 8, 8), way=3, **options).double().train()


@pytest.mark.parametrize("strategy", [s for s in strategy_names(compiling=True, graphs=True) if "compile" not in s])
@pytest.mark.parametrize("case", sorted(LEARNERS))
def test_every_strategy_gives_the_gradient_of_the_cpu(case: str, strategy: str) -> None:
    learner = learner_of(case)
    expected = [meta_gradient(learner, batch(seed=seed)) for seed in (0, 50)]
    learner.to(CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # falling back is no success
        for seed, (gradient, outcome) in zip((0, 50), expected, strict=True):
            got, seen = meta_gradient(learner, batch(seed=seed).to(CUDA), strategy=strategy)
            torch.testing.assert_close({n: g.cpu() for n, g in got.items()}, gradient, rtol=1e-8, atol=1e-10)
            torch.testing.assert_close((seen.loss.cpu(), seen.prediction.cpu()), (outcome.loss, outcome.prediction))


@pytest.mark.parametrize("strategy", strategy_names(graphs=True))
def test_solvers_are_recorded_or_a_reason_is_said(strategy: str) -> None:
    torch.manual_seed(0)
    body = {"channels": 4, "blocks": 2}
    learner = make_learner("r2d2", input_shape=(1, 8, 8), way=3, backbone_options=body).double().train()
    expected, _ = meta_gradient(learner, batch())
    learner.to(CUDA)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got, _ = meta_gradient(learner, batch().to(CUDA), strategy=strategy)
    assert len([w for w in said if issubclass(w.category, GraphWarning)]) <= strategy.startswith("graph")
    torch.testing.assert_close({n: g.cpu() for n, g in got.items()}, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("strategy", strategy_names(graphs=True))
@pytest.mark.parametrize("name", MODELS)
def test_models_of_all_kinds(name: str, strategy: str) -> None:
    learner, tasks = model_learner(name, 1), stack_tasks(model_tasks()).without_info()
    expected, _ = meta_gradient(learner, tasks)
    learner.to(CUDA)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got, _ = meta_gradient(learner, tasks.to(CUDA), strategy=strategy)
    assert len([w for w in said if f"strategy '{strategy}'" in str(w.message)]) <= (strategy != "loop")
    torch.testing.assert_close({n: g.cpu() for n, g in got.items()}, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("strategy", ["compile", "compile-vmap"])
def test_machine_code_gives_the_gradient_of_the_cpu(strategy: str) -> None:
    torch.manual_seed(0)
    learner = make_learner("maml", input_shape=(4,), way=3, backbone="mlp", inner_steps=1).double().train()
    tasks = stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(4,)) for i in range(3)]).without_info()
    expected, _ = meta_gradient(learner, tasks)
    learner.to(CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        got, _ = meta_gradient(learner, tasks.to(CUDA), strategy=strategy)
    torch.testing.assert_close({n: g.cpu() for n, g in got.items()}, expected, rtol=1e-8, atol=1e-10)
    assert compile_report(learner, strategy).reason is None


@pytest.mark.parametrize("strategy", ["graph", "graph-vmap"])
def test_a_recording_follows_weights_that_change(strategy: str) -> None:
    learner, tasks = learner_of("maml order 2").to(CUDA), batch().to(CUDA)
    before, _ = meta_gradient(learner, tasks, strategy=strategy)
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(0.1 * torch.randn_like(p))
    expected, _ = meta_gradient(learner, tasks)
    after, _ = meta_gradient(learner, tasks, strategy=strategy)
    torch.testing.assert_close(after, expected, rtol=1e-8, atol=1e-10)
    assert any(not torch.allclose(after[n], before[n]) for n in after)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize("strategy", ["loop", "vmap", "graph", "graph-vmap"])
@pytest.mark.parametrize("case", ["maml order 2", "maml order 2, folded", "maml order 2, strides"])
def test_rounded_gradients_are_close(case: str, strategy: str, precision: str) -> None:
    learner, tasks = learner_of(case).to(CUDA, torch.float32), batch().to(torch.float32).to(CUDA)
    exact, _ = meta_gradient(learner, tasks)
    got, _ = meta_gradient(learner, tasks, strategy=strategy, precision=precision)
    a, b = (torch.cat([x[n].flatten() for n in sorted(exact)]) for x in (exact, got))
    assert float(torch.cosine_similarity(a, b, 0)) > 0.99


def test_what_cannot_be_recorded_says_why() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Dropout(0.5))
    from metacortex.learners.gradient.maml import MAML

    learner = MAML(net, 0.1, 1).double().train().to(CUDA)
    with pytest.warns(GraphWarning, match="random numbers"):
        meta_gradient(learner, batch().to(CUDA), strategy="graph-vmap", seeds=[1, 2, 3])


def test_evaluation_is_that_of_the_cpu() -> None:
    learner, tasks = learner_of("maml order 2"), batch()
    expected = evaluate_tasks(learner, tasks)
    learner.to(CUDA)
    for replay in (False, True, True):
        got = evaluate_tasks(learner, tasks.to(CUDA), replay=replay)
        torch.testing.assert_close(got.prediction.cpu(), expected.prediction)


def test_auto_measures_graphs() -> None:
    choice = choose_strategy(learner_of("maml order 2").to(CUDA), batch().to(CUDA), steps=10, repeats=1)
    assert {"graph", "graph-vmap"} <= set(choice.seconds)


def test_tasks_drawn_on_the_gpu_are_those_of_the_cpu() -> None:
    for view in make_views():
        episodes = Episodes(view, EpisodeSpec(3, 1, (2, 4)), seed=1, split="train")
        there = place(episodes, CUDA)
        assert there.batch([0, 5]).query.inputs.is_cuda
        assert_same(there.batch([0, 5]).to("cpu"), episodes.batch([0, 5]))
        bent, moved = Warped(episodes, 1.0), place(Warped(episodes, 1.0), CUDA)
        torch.testing.assert_close(moved.batch([3]).query.inputs.cpu(), bent.batch([3]).query.inputs, rtol=0, atol=1e-4)


def _stop_at(step: int):
    def tell(event: TrainingEvent) -> None:
        if event.step == step:
            raise KeyboardInterrupt

    return tell


def _digest(out: Path) -> str:
    content = load_checkpoint(out / "checkpoints" / "last")
    digest = hashlib.sha256()
    for tensors in (content.model, content.optimizer):
        for key in sorted(tensors):
            digest.update(key.encode() + tensors[key].numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("strategy", ["loop", "graph", "graph-vmap"])
def test_training_resumes_exactly_and_is_evaluated_anywhere(tmp_path: Path, strategy: str) -> None:
    data = toy_data()
    settings = merge(
        toy_settings("maml", {"inner_lr": 0.1}), {"training.device": "cuda", "training.strategy": strategy}
    )
    train(settings, tmp_path / "whole", progress=False, data=data)
    part = tmp_path / "part"
    for stop in (3, 7):
        assert train(settings, part, resume=True, progress=_stop_at(stop), data=data).interrupted
    result = train(None, part, resume=True, progress=False, data=data)
    assert next(result.learner.parameters()).is_cuda
    assert _digest(part) == _digest(tmp_path / "whole")
    machine = RunFolder(part).info()["machine"]
    assert machine["device"].startswith("cuda")
    assert machine["device_name"] == torch.cuda.get_device_name()
    scores = [evaluate_run(part, data, tasks=70, device=device, save=False).scores for device in ("cpu", "cuda")]
    agreeing = sum(abs(a - b) < 1e-6 for a, b in zip(*scores, strict=True))
    assert agreeing >= 65
    assert ImageDomain(data).fingerprint == RunFolder(part).info()["data"]["fingerprint"]
