"""Fisher information in closed form, and what the distance does with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from similarity_support import small_probe, stripes
from torch import nn

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.similarity.probe import Probe, fit_head, probe_of
from metacortex.similarity.task2vec import Task2Vec, fisher_diagonal


def scalar_probe(weight: float) -> Probe:
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, weight)
    return Probe(layer)


def test_fisher_of_a_logistic_regression_in_closed_form() -> None:
    """p(1|x) = σ((v_1 − v_0) w x + b): the Fisher information of w is E_x[ (v_1 − v_0)² x² p (1 − p) ]."""
    probe = scalar_probe(0.7)
    x = torch.tensor([[-2.0], [-1.0], [0.5], [1.0], [3.0], [-0.5]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1, 1])
    found = fisher_diagonal(probe, x, y, 2, penalty=0.05)["weight"]
    z = 0.7 * x
    unit = z.square().mean().sqrt()
    head, bias = fit_head(z / unit, y, 2, 0.05)
    gap = (head[0, 1] - head[0, 0]) / unit
    p = torch.sigmoid(gap * z[:, 0] + bias[1] - bias[0])
    expected = (gap.square() * x[:, 0].square() * p * (1 - p)).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_fisher_of_a_softmax_layer_in_closed_form() -> None:
    """For z = A x the Fisher information of A_ij is E_x[ x_j² Var_{y~p}(W_iy) ]."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 4
    found = fisher_diagonal(Probe(layer), x, y, 4, penalty=0.1)["weight"]
    z = (x @ layer.weight.T).detach()
    unit = z.square().sum(1).mean().sqrt()
    head, bias = fit_head(z / unit, y, 4, 0.1)
    w = head / unit  # [2, 4]
    p = (z @ w + bias).softmax(1)
    variance = p @ w.square().T - (p @ w.T).square()  # [20, 2]
    torch.testing.assert_close(found, variance.T @ x.square() / 20, rtol=1e-9, atol=1e-12)


def test_sampled_labels_tend_to_the_exact_mean() -> None:
    task, probe = stripes(0, 1), small_probe()

    def mean(samples: int) -> float:
        found = fisher_diagonal(probe, task.inputs, task.targets, task.way, samples=samples, penalty=1.0)
        return float(found["0.weight"].mean())

    assert mean(100) == pytest.approx(mean(0), rel=0.1)
    assert mean(1) != mean(0)


def test_head_is_at_the_minimum() -> None:
    """The gradient of the mean cross-entropy is −penalty · W, that of the bias 0."""
    torch.manual_seed(1)
    z, y = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3
    head, bias = fit_head(z, y, 3, 0.1)
    errors = (z @ head + bias).softmax(1) - nn.functional.one_hot(y, 3)
    torch.testing.assert_close(
        z.T @ errors / 30 + 0.1 * head, torch.zeros(4, 3, dtype=torch.float64), atol=1e-4, rtol=0
    )
    assert float(errors.mean(0).abs().max()) < 1e-4


def test_a_task_is_at_distance_zero_from_itself_and_the_distance_is_symmetric() -> None:
    measure = Task2Vec(small_probe())
    a, b = measure.embed(stripes(0, 1)), measure.embed(stripes(1, 2))
    assert a.shape == (16,)
    assert (a >= 0).all()
    # The size of a layer's F does not count, unless it is asked for.
    larger = np.r_[9 * a[:8], a[8:]]
    assert measure.distance(larger, b) == pytest.approx(measure.distance(a, b))
    published = Task2Vec(small_probe(), relative=False)
    assert published.distance(larger, b) != pytest.approx(published.distance(a, b), rel=1e-3)
    assert measure.distance(a, a) == pytest.approx(0.0, abs=1e-12)
    assert measure.distance(a, b) == pytest.approx(measure.distance(b, a), rel=1e-12)
    assert measure.distance(a, b) > 0.001


def test_distance_by_hand() -> None:
    """Without a prior the ratios are F_A / (F_A + F_B), whatever the scale of each filter."""
    measure = Task2Vec(small_probe(), prior=0.0, relative=False)
    a, b = np.ones(16), np.r_[3 * np.ones(8), np.ones(8)]
    x, y = a / (a + b), b / (a + b)
    assert measure.distance(a, b) == pytest.approx(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    units = np.geomspace(1e-3, 1e3, 16)
    assert measure.distance(a * units, b * units) == pytest.approx(measure.distance(a, b))


def test_distance_from_the_trivial_task_is_taken_off() -> None:
    """d(A → B) = d_sym(A, B) − α d_sym(A, λ); the known task's distance counts, not the new one's."""
    probe, known, new = small_probe(), np.r_[np.ones(15), 9.0], np.ones(16)
    symmetric, asymmetric = (Task2Vec(probe, alpha=alpha, prior=0.1, relative=False) for alpha in (0.0, 0.5))
    scale = np.r_[np.ones(8), np.full(8, 1.5)]  # mean of both, layer by layer
    f = known / scale + 0.1
    x, y = f / (f + 0.1), 0.1 / (f + 0.1)
    trivial = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert trivial > 0.01
    expected = symmetric.distance(known, new) - 0.5 * trivial
    assert asymmetric.distance(known, new) == pytest.approx(expected)
    assert asymmetric.distance(new, known) != pytest.approx(expected)


def test_order_and_class_names_do_not_matter() -> None:
    a = stripes(0, 3)
    measure = Task2Vec(small_probe(), samples=0)
    order = torch.randperm(len(a.targets), generator=torch.Generator().manual_seed(0))
    renamed = type(a)(a.inputs[order], (a.targets[order] + 2) % a.way, classes=a.classes)
    np.testing.assert_allclose(measure.embed(renamed), measure.embed(a), rtol=1e-3)


def test_wrong_probes_and_settings() -> None:
    torch.manual_seed(0)
    with pytest.raises(LearnerError, match="has no network"):
        probe_of(NearestNeighbour())
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    with pytest.raises(LearnerError, match="examples would see each other"):
        probe_of(ProtoNet(model, norm="support"))
    with pytest.raises(LearnerError, match="layers of weights"):
        Task2Vec(Probe(nn.Flatten())).embed(stripes(0, 1))
    with pytest.raises(SettingsError, match="penalty must be positive"):
        Task2Vec(small_probe(), penalty=0.0)


def test_batch_norm_keeps_examples_apart() -> None:
    """With running statistics, features of one example do not depend on the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    learner = ProtoNet(model, norm="running")
    probe, images = probe_of(learner.eval()), stripes(0, 1).inputs
    torch.testing.assert_close(probe(images)[:1], probe(images[:1]))
