"""The transfer baselines: pre-training, and heads against torch.optim, scikit-learn and formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.learners.transfer.base import FrozenBody
from metacortex.learners.transfer.baseline import Baseline
from metacortex.learners.transfer.baseline_pp import BaselinePP, CosineHead
from metacortex.learners.transfer.knn import KNN
from metacortex.learners.transfer.linear_probe import LinearProbe
from metacortex.learners.transfer.simple_shot import SimpleShot
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs, finite_difference_gap

PRETRAINED = [n for n in learner_names() if issubclass(learner_entry(n).learner, FrozenBody)]


def vectors(**sizes) -> Task:
    return blobs(torch.Generator().manual_seed(0), shape=(5,), **sizes)


def batch(seed: int = 0, rows: int = 8) -> Task:
    """A batch of pre-training: no support, all of the six classes in the queries."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, 5, generator=g, dtype=torch.float64)
    y = torch.randint(6, (rows,), generator=g)
    return Task.classification(x[:0], y[:0], x, y, way=6)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh()).double()


def pretrained(name: str):
    torch.manual_seed(1)
    learner = make_learner(name, input_shape=(5,), train_classes=6, backbone="mlp", backbone_options={"hidden": (4,)})
    return learner.double().train()


def predictions(learner, task: Task) -> Tensor:
    with torch.no_grad():
        return learner.eval().predict(learner.adapt(task.support), task.query.inputs)


# --- pre-training ---


def test_all_of_them_are_there() -> None:
    assert {"baseline", "baseline_pp", "knn", "linear_probe", "simple_shot"} <= set(PRETRAINED)


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretraining_is_classification_of_all_classes(name: str) -> None:
    learner, task = pretrained(name), batch()
    features = learner.body.model(task.query.inputs)
    head = learner.pretraining_head
    if name == "baseline_pp":
        cosine = F.cosine_similarity(features[:, None], head.weight[None], dim=-1, eps=1e-12)
        expected = F.cross_entropy(10 * cosine, task.query.targets)
    else:
        expected = F.cross_entropy(F.linear(features, head.weight, head.bias), task.query.targets)
    gradients, outcome = learner.task_gradient(task)
    torch.testing.assert_close(outcome.loss, expected.detach(), rtol=1e-5, atol=1e-9)
    assert set(gradients) == {n for n, _ in learner.named_parameters()}
    assert finite_difference_gap(learner, [task], gradients) < 1e-7


@pytest.mark.parametrize("name", PRETRAINED)
def test_strategies_agree_on_pretraining(name: str) -> None:
    learner, tasks = pretrained(name), stack_tasks([batch(0), batch(1, rows=6)])
    expected, reference = meta_gradient(learner, tasks)
    for strategy in strategy_names():
        got, outcome = meta_gradient(learner, tasks, strategy=strategy)
        torch.testing.assert_close({n: got[n] for n in expected}, expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(outcome.buffers, reference.buffers, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_skill_leaves_the_pretraining_head_behind(name: str) -> None:
    kept = pretrained(name).keeps()
    assert any(n.startswith("body.") for n in kept)
    assert not any(n.startswith("pretraining_head") for n in kept)


def test_pretraining_without_classes_is_refused() -> None:
    with pytest.raises(LearnerError, match="train_classes"):
        KNN(nn.Identity(), 5).train().loss(batch())
    with pytest.raises(SettingsError, match="features=0"):
        KNN(nn.Identity(), 0)


# --- heads ---


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_baseline_descends_as_torchs_sgd(steps: int) -> None:
    task, head = vectors(), nn.Linear(5, 3).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.3, momentum=0.9, dampening=0.9, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(task.support.inputs), task.support.targets).backward()
        optimizer.step()
    learner = Baseline(nn.Identity(), 5, tune_lr=0.3, tune_steps=steps, weight_decay=0.01)
    torch.testing.assert_close(predictions(learner, task), head(task.query.inputs).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_baseline_pp_descends_as_torchs_sgd(steps: int) -> None:
    task, head = vectors(), CosineHead(5, 3, scale=4.0).double()
    x, y = task.support.inputs, task.support.targets
    with torch.no_grad():
        head.weight.copy_(torch.stack([F.normalize(x[y == c], dim=1).mean(0) for c in range(3)]))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.3, momentum=0.9, dampening=0.9, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(x), y).backward()
        optimizer.step()
    learner = BaselinePP(nn.Identity(), 5, tune_lr=0.3, tune_steps=steps, weight_decay=0.01, scale=4.0)
    torch.testing.assert_close(predictions(learner, task), head(task.query.inputs).detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("normalise", [True, False])
def test_linear_probe_is_scikit_learns_logistic_regression(normalise: bool) -> None:
    task = vectors(shot=4)
    x, z = (F.normalize(e.inputs, dim=1) if normalise else e.inputs for e in (task.support, task.query))
    x, z = (np.c_[part.numpy(), np.ones(len(part))] for part in (x, z))
    model = LogisticRegression(C=5.0, fit_intercept=False, tol=1e-10, max_iter=10000)
    expected = model.fit(x, task.support.targets.numpy()).decision_function(z)
    learner = LinearProbe(nn.Identity(), 5, penalty=0.2, normalise=normalise)
    np.testing.assert_allclose(predictions(learner, task).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_knn_is_scikit_learns(metric: str) -> None:
    task = vectors(way=4, shot=3, queries=10, spread=2.0)
    model = KNeighborsClassifier(1, metric=metric).fit(task.support.inputs.numpy(), task.support.targets.numpy())
    learner = KNN(nn.Identity(), 5, distance=metric.removesuffix("ean"))
    got = predictions(learner, task).argmax(1).numpy()
    np.testing.assert_array_equal(got, model.predict(task.query.inputs.numpy()))


def test_knn_averages_over_neighbours_of_each_class() -> None:
    """The second class has one example only, the third none: it is never chosen."""
    x = torch.tensor([[0.0], [1.0], [5.0], [10.0]])
    support = Examples(x, torch.tensor([0, 0, 0, 1]), classes=torch.ones(3, dtype=torch.bool))
    learner = KNN(nn.Identity(), 1, neighbours=2, distance="euclid", scale=1.0)
    logits = learner.predict(learner.adapt(support), torch.tensor([[2.0]]))
    assert logits[0, :2].tolist() == pytest.approx([-(1 + 4) / 2, -64.0])
    assert float(logits[0, 2]) < -1e30


@pytest.mark.parametrize("transform", ["cl2n", "l2n", "un"])
def test_simple_shot_by_hand(transform: str) -> None:
    task, mean = vectors(shot=3), torch.linspace(-1, 1, 5, dtype=torch.float64)
    learner = SimpleShot(nn.Identity(), 5, transform=transform).double()
    learner.feature_mean.copy_(mean)
    x, z = (e.inputs - mean if transform == "cl2n" else e.inputs for e in (task.support, task.query))
    x, z = (part if transform == "un" else F.normalize(part, dim=1) for part in (x, z))
    means = torch.stack([x[task.support.targets == c].mean(0) for c in range(3)])
    torch.testing.assert_close(predictions(learner, task), -10 * torch.cdist(z, means) ** 2, rtol=1e-6, atol=1e-6)


def commit(learner: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, value in buffers.items():
        learner.get_buffer(name).copy_(value)


def test_simple_shot_keeps_the_mean_of_all_features() -> None:
    learner = SimpleShot(nn.Identity(), 5, 6).double().train()
    seen = []
    for seed in range(5):
        seen.append(batch(seed).query.inputs)
        commit(learner, learner.loss(batch(seed)).buffers)
    torch.testing.assert_close(learner.feature_mean, torch.cat(seen).mean(0), rtol=1e-10, atol=1e-12)
    assert float(learner.feature_batches) == 5
    learner.feature_batches.fill_(1e6)
    later = learner.loss(batch(9)).buffers["feature_mean"]
    expected = learner.feature_mean.lerp(batch(9).query.inputs.mean(0), 0.01)
    torch.testing.assert_close(later, expected, rtol=1e-10, atol=1e-12)


def test_simple_shot_leaves_its_mean_alone_on_episodes_and_in_evaluation() -> None:
    learner = SimpleShot(network(), 4, 6).double().train()
    assert not any("feature" in name for name in learner.loss(vectors()).buffers)
    assert not learner.eval().loss(vectors()).buffers


def test_simple_shot_does_not_count_padding() -> None:
    learner = SimpleShot(nn.Identity(), 5, 6).double().train()
    whole, part = batch(0), batch(1, rows=3)
    alone = learner.loss(part).buffers["feature_mean"]
    query = stack_tasks([whole, part]).query
    padded = Examples(query.inputs[1], query.targets[1], query.mask[1], query.classes[1])
    got = learner.loss(Task(part.support, padded)).buffers["feature_mean"]
    torch.testing.assert_close(got, alone, rtol=1e-12, atol=1e-14)
