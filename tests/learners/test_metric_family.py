"""The metric family against closed forms, and on regression tasks."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from metacortex.errors import DataError, SettingsError
from metacortex.learners.metric.lr_d2 import LRD2
from metacortex.learners.metric.matching import FullContext, MatchingNet
from metacortex.learners.metric.metaopt_net import MetaOptNet
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.metric.r2d2 import R2D2
from metacortex.learners.metric.relation import RelationError, RelationNet
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.registry import make_learner
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import LAWS, blobs, check_module_untouched, check_shared_parameters


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(seed: int = 0, **sizes) -> Task:
    return blobs(seeded(seed), shape=(5,), **sizes)


def curve(generator: torch.Generator) -> Task:
    """A regression task: two outputs, linear in the inputs with a bend."""
    weights = torch.randn(4, 2, generator=generator, dtype=torch.float64)

    def sample(count: int) -> Examples:
        x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        return Examples(x, torch.tanh(x @ weights))

    return Task(sample(6), sample(5))


def predictions(learner, task: Task) -> Tensor:
    with torch.no_grad():
        return learner.predict(learner.adapt(task.support), task.query.inputs)


# --- matching ---


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_matching_on_one_hot_examples(scale: float) -> None:
    """cos is 1 for the same class and 0 for others: p = eˢ / (eˢ + way − 1)."""
    x, y = torch.eye(4, dtype=torch.float64), torch.arange(4)
    learner = MatchingNet(nn.Identity(), scale=scale).double()
    probabilities = learner.bind(learner.adapt(Task.classification(x, y, x, y).support)).probabilities(x)
    right = math.exp(scale) / (math.exp(scale) + 3)
    torch.testing.assert_close(
        probabilities.diagonal(), torch.full((4,), right, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_matching_sums_the_attention_of_each_class() -> None:
    task = vectors()
    cosines = F.cosine_similarity(task.query.inputs[:, None], task.support.inputs[None], dim=-1)
    attention = (10 * cosines).softmax(1)
    expected = attention @ F.one_hot(task.support.targets, 3).double()
    learner = MatchingNet(nn.Identity()).double()
    torch.testing.assert_close(predictions(learner, task).softmax(1), expected, rtol=1e-6, atol=1e-9)


def test_matching_as_regression_is_a_weighted_mean_of_the_targets() -> None:
    task = curve(seeded())
    cosines = F.cosine_similarity(task.query.inputs[:, None], task.support.inputs[None], dim=-1)
    learner = MatchingNet(nn.Identity(), scale=3.0, objective=MeanSquaredError()).double()
    expected = (3 * cosines).softmax(1) @ task.support.targets
    torch.testing.assert_close(predictions(learner, task), expected, rtol=1e-6, atol=1e-9)


def test_a_class_without_examples_is_never_chosen() -> None:
    x, y = torch.eye(3), torch.tensor([0, 1, 1])
    learner = MatchingNet(nn.Identity())
    logits = predictions(learner, Task.classification(x, y, x, y, way=3))
    assert bool(logits.isfinite().all())
    assert logits.argmax(1).tolist() == [0, 1, 1]


def test_full_context_reads_as_torchs_lstm() -> None:
    torch.manual_seed(0)
    context, x = FullContext(5, 2).double(), torch.randn(4, 5, dtype=torch.float64)
    reference = nn.LSTM(5, 5, bidirectional=True).double()
    reference.load_state_dict(context.read.state_dict())
    onwards, backwards = reference(x)[0].chunk(2, -1)
    keys = context.support(x, None)
    torch.testing.assert_close(keys, onwards + backwards + x, rtol=1e-10, atol=1e-12)


def test_full_context_attends_as_the_papers_equations() -> None:
    """ĥ, c = LSTM(f', [h, r], c) with one matrix for [h, r]."""
    torch.manual_seed(0)
    context = FullContext(5, 3).double()
    f, keys = torch.randn(2, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    w = context.attend.weights()
    both = torch.cat([w["weight_hh_l0"], w["weight_ih_l0"][:, 5:]], 1)
    h = read = c = torch.zeros_like(f)
    for _ in range(3):
        gates = f @ w["weight_ih_l0"][:, :5].T + torch.cat([h, read], 1) @ both.T + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, forget, g, o = gates.chunk(4, 1)
        c = forget.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh() + f
        read = (h @ keys.T).softmax(1) @ keys
    got = context.query(f, keys, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(got, h, rtol=1e-10, atol=1e-12)


def test_full_context_skips_padding_wherever_it_stands() -> None:
    torch.manual_seed(0)
    context, x = FullContext(5, 2).double(), torch.randn(4, 5, dtype=torch.float64)
    spread = torch.stack([x[0], 9 * x[1], x[1], x[2], 7 * x[0], x[3]])
    mask = torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(context.support(spread, mask)[mask], context.support(x, None), rtol=1e-12, atol=1e-14)


def test_full_context_depends_on_the_order() -> None:
    """Why the law of order is not claimed for it; without it the order is irrelevant."""
    task = vectors()
    support = task.support
    turned = Examples(support.inputs.flip(0), support.targets.flip(0), None, support.classes)
    for fce in (False, True):
        torch.manual_seed(0)
        learner = MatchingNet(nn.Identity(), 5, fce=fce).double()
        a, b = (learner.predict(learner.adapt(s), task.query.inputs) for s in (support, turned))
        assert bool(torch.allclose(a, b, atol=1e-9)) is not fce


def test_full_context_needs_the_width() -> None:
    with pytest.raises(SettingsError, match="length of the features"):
        MatchingNet(nn.Identity(), fce=True)


# --- relation ---


def test_relation_is_a_perceptron_on_pairs() -> None:
    torch.manual_seed(0)
    task, learner = vectors(), RelationNet(nn.Identity(), 5, hidden=7).double()
    means = torch.stack([task.support.inputs[task.support.targets == c].mean(0) for c in range(3)])
    pairs = torch.cat([means[None].expand(6, 3, 5), task.query.inputs[:, None].expand(6, 3, 5)], -1)
    first = nn.Linear(10, 7).double()
    with torch.no_grad():
        first.weight.copy_(torch.cat([learner.of_class.weight, learner.of_query.weight], 1))
        first.bias.copy_(learner.of_class.bias)
        expected = learner.relate(first(pairs))[..., 0]
    torch.testing.assert_close(predictions(learner, task), expected, rtol=1e-10, atol=1e-12)


def test_relation_error_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]], dtype=torch.float64)
    examples = Examples(torch.zeros(2, 1, dtype=torch.float64), torch.tensor([1, 1]), classes=torch.ones(2).bool())
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = ((p - np.array([[0, 1], [0, 1]])) ** 2).mean()
    assert float(RelationError().loss(logits, examples)) == pytest.approx(expected, rel=1e-12)
    assert float(RelationError().metrics(logits, examples)["accuracy"]) == 0.5


# --- linear models ---


@pytest.mark.parametrize("shot", [1, 4])
def test_r2d2_is_ridge_regression(shot: int) -> None:
    task = vectors(shot=shot)
    x, z = (np.c_[e.inputs.numpy(), np.ones(len(e.targets))] for e in (task.support, task.query))
    y = np.eye(3)[task.support.targets.numpy()]
    expected = 10 * z @ np.linalg.solve(x.T @ x + 0.3 * np.eye(6), x.T @ y) + 0.5
    learner = R2D2(nn.Identity(), ridge=0.3).double()
    nn.init.constant_(learner.bias, 0.5)
    np.testing.assert_allclose(predictions(learner, task).numpy(), expected, rtol=1e-6)


def test_r2d2_recovers_a_linear_function() -> None:
    g = seeded()
    x, w = torch.randn(9, 3, generator=g, dtype=torch.float64), torch.randn(3, 2, generator=g, dtype=torch.float64)
    examples = Examples(x, x @ w + 1.5)
    learner = R2D2(nn.Identity(), ridge=1e-9, objective=MeanSquaredError()).double()
    torch.testing.assert_close(predictions(learner, Task(examples, examples)), examples.targets, rtol=1e-6, atol=1e-6)


def test_lr_d2_is_logistic_regression() -> None:
    task = vectors(shot=4)
    model = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=10000)
    model.fit(task.support.inputs.numpy(), task.support.targets.numpy())
    learner = LRD2(nn.Identity(), penalty=0.5, scale=3.0, intercept=False).double()
    expected = 3 * model.decision_function(task.query.inputs.numpy())
    np.testing.assert_allclose(predictions(learner, task).numpy(), expected, atol=1e-4)


def test_metaopt_net_is_the_machine_of_crammer_and_singer() -> None:
    """On separable classes the decision values are scikit-learn's."""
    task = vectors(shot=3, spread=0.1)
    model = LinearSVC(multi_class="crammer_singer", fit_intercept=False, C=0.5, tol=1e-9, max_iter=100000)
    model.fit(task.support.inputs.numpy(), task.support.targets.numpy())
    learner = MetaOptNet(nn.Identity(), bound=0.5, scale=2.0).double()
    expected = 2 * model.decision_function(task.query.inputs.numpy())
    got = predictions(learner, task)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)
    assert torch.equal(got.argmax(1), task.query.targets)


@pytest.mark.parametrize("make", [R2D2, LRD2, MetaOptNet], ids=lambda make: make.name)
def test_users_modules_with_tied_and_frozen_parameters(make) -> None:
    check_shared_parameters(make, blobs, outputs=4)
    check_module_untouched(make, lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.BatchNorm1d(4)), blobs)


@pytest.mark.parametrize("make", [LRD2, MetaOptNet, ProtoNet, partial(RelationNet, features=4)])
def test_classifiers_refuse_regression(make) -> None:
    with pytest.raises(DataError, match="carry no classes"):
        make(nn.Identity()).double().loss(curve(seeded()))


# --- prototypical networks with a learned scale ---


@pytest.mark.parametrize("distance", ["euclid", "cosine"])
def test_a_learned_scale_starts_as_the_fixed_one(distance: str) -> None:
    task = vectors()
    fixed = ProtoNet(nn.Identity(), distance).double()
    learned = ProtoNet(nn.Identity(), distance, learn_scale=True).double()
    assert not fixed.meta_parameters()
    torch.testing.assert_close(predictions(learned, task), predictions(fixed, task), rtol=1e-6, atol=1e-6)
    # dL/d(log s) = Σ_c (p_c − y_c) logit_c, mean over the queries
    gradients, outcome = learned.task_gradient(task)
    logits = outcome.prediction
    expected = ((logits.softmax(1) - F.one_hot(task.query.targets, 3)) * logits).sum(1).mean()
    torch.testing.assert_close(gradients["log_scale"], expected)


def test_a_learned_scale_must_start_positive() -> None:
    with pytest.raises(SettingsError, match="-2"):
        ProtoNet(nn.Identity(), scale=-2.0, learn_scale=True)


# --- regression tasks, through the registry ---

REGRESSION = {"matching": ("matching", {}), "matching-fce": ("matching", {"fce": True}), "r2d2": ("r2d2", {})}
# Full-context embeddings read the support set as a sequence.
PAIRS = [(case, law) for case in REGRESSION for law in LAWS if (case, law) != ("matching-fce", "order")]


@pytest.mark.parametrize(("case", "law"), PAIRS)
def test_law_on_regression(case: str, law: str) -> None:
    name, options = REGRESSION[case]
    make = partial(
        make_learner,
        name,
        input_shape=(4,),
        way=2,
        kind="regression",
        objective=MeanSquaredError(),
        backbone="mlp",
        backbone_options={"hidden": (16,)},
        **options,
    )
    LAWS[law](make, curve)


def test_regression_tasks_of_other_sizes_stack() -> None:
    """The padded task is predicted as it is alone."""
    large, small = curve(seeded(0)), curve(seeded(1))
    small = Task(Examples(small.support.inputs[:3], small.support.targets[:3]), small.query)
    batch = stack_tasks([large, small])
    for learner in (MatchingNet(nn.Identity()).double(), R2D2(nn.Identity()).double()):
        padded = Examples(batch.support.inputs[1], batch.support.targets[1], batch.support.mask[1])
        alone, stacked = predictions(learner, small), predictions(learner, Task(padded, small.query))
        torch.testing.assert_close(stacked, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", ["running", "support"])
def test_inputs_may_be_a_tree_of_tensors(norm: str) -> None:
    """A dictionary of parts is learned from as their concatenation is, while training too."""

    class Parts(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return torch.cat([x["a"], x["b"]], -1)

    task = vectors()
    halves = [replace(e, inputs={"a": e.inputs[:, :2], "b": e.inputs[:, 2:]}) for e in (task.support, task.query)]
    for training in (True, False):
        of_parts = ProtoNet(Parts(), norm=norm).train(training).loss(Task(*halves))
        whole = ProtoNet(nn.Identity(), norm=norm).train(training).loss(task)
        assert torch.equal(of_parts.prediction, whole.prediction)
