"""Inner loops, prototypes, matching, ridge regression: against closed forms."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchmeta
from torchmeta.modules import MetaLinear
from torchmeta.utils import gradient_update_parameters
from torchmeta.utils.matching import (
    matching_log_probas,
    matching_loss,
    matching_probas,
    pairwise_cosine_similarity,
)
from torchmeta.utils.metrics import hardness_metric
from torchmeta.utils.prototype import get_num_samples, get_prototypes, prototypical_loss
from torchmeta.utils.r2d2 import ridge_regression


def test_version() -> None:
    assert torchmeta.__version__ == "1.8.0"


def test_packages_are_there_without_being_named() -> None:
    """``import torchmeta as tm; tm.modules.MetaLinear`` was enough, in a process that has imported nothing else."""
    text = """
import torchmeta as tm
places = (tm.modules.MetaLinear, tm.utils.data.BatchMetaDataLoader, tm.toy.helpers.sinusoid)
places += (tm.datasets.helpers.omniglot,)
from torchmeta.transforms.splitters import WeightedClassSplitter
from torchmeta.datasets import letter, bach, one_hundred_plants_margin, helpers_tabular
from torchmeta.datasets.cifar100.base import CIFAR100Dataset
assert hasattr(tm, "__version__") and not hasattr(tm, "learn") and not hasattr(tm.utils, "nothing")
assert "algos" in dir(tm)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_original_beside_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.8.0")
    with pytest.raises(ImportError, match=r"torchmeta 1\.8\.0 is installed beside metacortex.*pip uninstall torchmeta"):
        torchmeta._refuse_original()


@pytest.mark.parametrize("first_order", [False, True])
def test_gradient_update(first_order: bool) -> None:
    """L = w²/2 · x: w' = w (1 − αx); d(w'²/2)/dw = w' (1 − αx), or w' to first order."""
    model = MetaLinear(1, 1, bias=False)
    loss = 3.0 * model.weight.square().sum() / 2
    new = gradient_update_parameters(model, loss, step_size=0.1, first_order=first_order)
    w = float(model.weight.detach())
    assert float(new["weight"].detach()) == pytest.approx(0.7 * w)
    (new["weight"].square() / 2).sum().backward()
    assert float(model.weight.grad) == pytest.approx(0.7 * w * (1.0 if first_order else 0.7))


def test_gradient_update_with_learned_step_sizes() -> None:
    model = MetaLinear(1, 1)
    rates = OrderedDict((n, torch.full_like(p, 0.5, requires_grad=True)) for n, p in model.meta_named_parameters())
    loss = (model(torch.ones(1, 1)) - 1).square().sum()
    new = gradient_update_parameters(model, loss, step_size=rates)
    new["weight"].sum().backward()
    gradient = 2 * (model(torch.ones(1, 1)) - 1).sum()
    assert torch.allclose(rates["weight"].grad, -gradient.detach().expand(1, 1))
    with pytest.raises(ValueError, match="no entry for the parameter 'bias'"):
        gradient_update_parameters(model, model(torch.ones(1, 1)).sum(), step_size={"weight": 1.0})


def test_gradient_update_of_given_and_unused_parameters() -> None:
    model = MetaLinear(2, 1)
    params = OrderedDict((n, p * 2) for n, p in model.meta_named_parameters())
    new = gradient_update_parameters(model, params["weight"].sum(), params=params, step_size=1.0)
    assert torch.allclose(new["weight"], params["weight"] - 1)
    assert new["bias"] is params["bias"]
    with pytest.raises(ValueError, match=r"must be a torchmeta\.modules\.MetaModule, got Linear"):
        gradient_update_parameters(nn.Linear(1, 1), torch.zeros(()))


def test_prototypes() -> None:
    embeddings = torch.tensor([[[0.0, 2.0], [2.0, 0.0], [4.0, 4.0]]])
    targets = torch.tensor([[0, 0, 2]])
    assert get_num_samples(targets, 3).tolist() == [[2, 0, 1]]
    assert get_num_samples(targets, 3, dtype=torch.int64).dtype == torch.int64
    prototypes = get_prototypes(embeddings, targets, 3)
    assert prototypes.tolist() == [[[1, 1], [0, 0], [4, 4]]]  # zeros for the absent class
    query = torch.tensor([[[1.0, 1.0], [4.0, 3.0]]])
    logits = -torch.tensor([[0.0, 2.0, 18.0], [13.0, 25.0, 1.0]])  # squared distances, no root
    loss = prototypical_loss(prototypes, query, torch.tensor([[0, 2]]))
    assert float(loss) == pytest.approx(float(F.cross_entropy(logits, torch.tensor([0, 2]))))
    each = prototypical_loss(prototypes, query, torch.tensor([[0, 2]]), reduction="none")
    assert each.shape == (1, 2)


def test_matching() -> None:
    torch.manual_seed(0)
    support, query = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    targets = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    cosine = pairwise_cosine_similarity(support, query)
    assert torch.allclose(cosine, F.cosine_similarity(support[:, :, None], query[:, None], dim=-1), atol=1e-6)
    log_probas = matching_log_probas(support, targets, query, 2)
    assert log_probas.shape == (2, 2, 5)
    attention = cosine.softmax(1)
    assert torch.allclose(log_probas[0].exp()[0], attention[0, :2].sum(0))
    assert torch.isinf(log_probas[1, 0]).all()  # no support: minus infinity
    probas = matching_probas(support, targets, query, 2)
    assert torch.allclose(probas.sum(1), torch.ones(2, 5))
    truth = torch.ones(2, 5, dtype=torch.int64)
    assert float(matching_loss(support, targets, query, truth, 2)) == pytest.approx(-float(log_probas[:, 1].mean()))


def test_matching_gradient_is_finite_without_support() -> None:
    support = torch.randn(1, 2, 3, requires_grad=True)
    truth = torch.zeros(1, 4, dtype=torch.int64)
    matching_loss(support, torch.zeros(1, 2, dtype=torch.int64), torch.randn(1, 4, 3), truth, 2).backward()
    assert torch.isfinite(support.grad).all()


@pytest.mark.parametrize("woodbury", [True, False, None])
@pytest.mark.parametrize("scale", [True, False])
def test_ridge_regression(woodbury: bool | None, scale: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    factor = len(x) if scale else 1.0
    design = np.hstack([x, np.ones((6, 1))])
    expected = np.linalg.solve(design.T @ design / factor + 0.3 * np.eye(5), design.T @ y / factor).T
    found = ridge_regression(torch.tensor(x), torch.tensor(y), 0.3, use_woodbury=woodbury, scale=scale)
    assert np.allclose(found.weight, expected[:, :-1])
    assert np.allclose(found.bias, expected[:, -1])


def test_ridge_regression_of_labels() -> None:
    x = torch.eye(3, dtype=torch.float64)
    found = ridge_regression(x, torch.tensor([0, 2, 0]), 1.0, num_classes=4, scale=False, bias=False)
    assert found.bias is None
    assert torch.allclose(found.weight, F.one_hot(torch.tensor([0, 2, 0]), 4).double().T / 2)
    assert torch.autograd.gradcheck(
        lambda e, r: ridge_regression(e, torch.tensor([0, 1, 1]), r).weight,
        (torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.tensor(0.5).double().requires_grad_()),
    )
    with pytest.raises(ValueError, match="one task"):
        ridge_regression(torch.zeros(2, 3, 4), torch.zeros(2, 3), 1.0)


def test_what_is_not_provided_says_so() -> None:
    with pytest.raises(NotImplementedError, match="ResNet-152"):
        hardness_metric({}, 5)
