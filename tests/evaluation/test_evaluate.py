from __future__ import annotations

import hashlib
import json
import math

import pytest
import torch

from metacortex.errors import DataError
from metacortex.evaluation.evaluate import evaluate
from metacortex.evaluation.results import EvaluationResult, compare, load_result
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.objective import GaussianLikelihood, MeanSquaredError
from metacortex.learners.registry import make_learner
from metacortex.nn.mode import evaluating
from metacortex.tasks.functions import make_functions


def _learner(name: str, **options):
    extra = {} if name == "nearest_neighbour" else options
    torch.manual_seed(0)
    body = {"backbone": "mlp", "backbone_options": {"hidden": (8,), "norm": "batch"}}
    return make_learner(name, input_shape=(6,), way=3, train_classes=8, **body, **extra)


def _digest(learner) -> str:
    digest = hashlib.sha256()
    for name, tensor in [*learner.named_parameters(), *learner.named_buffers()]:
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


CASES = [
    ("protonet", {"norm": "running"}),
    ("protonet", {"norm": "support"}),
    ("maml", {"norm": "per-step"}),
    ("maml", {"norm": "query-batch"}),
    ("fine_tuning", {"tune_steps": 2}),
    ("nearest_neighbour", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_everything_bit_identical(episodes, name, options, training):
    learner = _learner(name, **options).train(training)
    for module in list(learner.modules())[1:2]:
        module.training = not training  # a mode of its own, which must survive
    modes = [m.training for m in learner.modules()]
    before, random = _digest(learner), torch.random.get_rng_state()
    result = evaluate(learner, episodes, tasks=5)
    assert _digest(learner) == before
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [m.training for m in learner.modules()] == modes
    assert all(p.grad is None for p in learner.parameters())
    assert len(result.accuracy) == 5
    assert all(0 <= a <= 1 for a in result.accuracy)


def test_the_modes_come_back_after_an_error():
    module = torch.nn.Sequential(torch.nn.Dropout())

    def fail():
        with evaluating(module):
            assert not module[0].training
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert module[0].training


def test_the_batch_size_does_not_matter(episodes):
    learner = _learner("protonet")
    seen = []
    whole = evaluate(learner, episodes, tasks=7, batch=7)
    parts = evaluate(learner, episodes, tasks=7, batch=3, progress=lambda done, of: seen.append((done, of)))
    assert whole.accuracy == pytest.approx(parts.accuracy)
    assert whole.fingerprint == parts.fingerprint
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_scores_are_those_of_each_task(episodes):
    learner = _learner("nearest_neighbour").eval()
    result = evaluate(learner, episodes, tasks=4)
    single = [float(learner.loss(episodes.task(i)).metrics["accuracy"]) for i in range(4)]
    assert result.accuracy == pytest.approx(single)
    assert result.mean == pytest.approx(sum(single) / 4)


def test_no_graph_is_kept(episodes):
    kept = []

    class Spy(type(_learner("protonet"))):
        def loss(self, task):
            outcome = super().loss(task)
            kept.append(outcome.loss.requires_grad)
            return outcome

    evaluate(Spy(torch.nn.Linear(6, 3)), episodes, tasks=2)
    assert kept == [False, False]


def test_no_tasks_is_an_error(episodes):
    with pytest.raises(DataError, match="at least one task"):
        evaluate(_learner("protonet"), episodes, tasks=0)


def _constant(outputs: int, objective) -> MAML:
    """Predicts zeros, whatever it sees."""
    model = torch.nn.Linear(1, outputs)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return MAML(model, inner_steps=0, objective=objective)


def test_regression_is_scored_by_squared_error(tmp_path):
    source = make_functions("sinusoid", shot=3, queries=5, split="test")
    result = evaluate(_constant(1, MeanSquaredError()), source, tasks=6, batch=4)
    expected = [float((source.task(i).query.targets ** 2).mean()) for i in range(6)]
    assert result.scores == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert (result.metric, result.higher_is_better) == ("mse", False)
    saved = result.to_json()
    assert saved["mse"] == pytest.approx(sum(expected) / 6)
    assert {"metric": "mse", "higher_is_better": False}.items() <= saved.items()
    assert "accuracy" not in saved
    assert str(result).startswith(f"mse {result.mean:.4f} ± {result.ci95:.4f} (6 tasks; sinusoid")
    with pytest.raises(DataError, match="scored by mse"):
        _ = result.accuracy
    path = tmp_path / "result.json"
    path.write_text(json.dumps(saved))
    assert load_result(path).to_json() == saved
    interval = compare(load_result(path), result)
    assert (interval.mean, interval.half) == (0, 0)


def test_a_likelihood_is_scored_by_the_error_of_its_mean():
    source = make_functions("sinusoid", shot=3, queries=5, split="test")
    plain = evaluate(_constant(1, MeanSquaredError()), source, tasks=6)
    likely = evaluate(_constant(2, GaussianLikelihood()), source, tasks=6)
    assert likely.scores == pytest.approx(plain.scores)
    assert likely.loss == pytest.approx(0.5 * (math.log(2 * math.pi) + plain.mean), rel=1e-5)
    assert likely.metrics == {"nll": pytest.approx(likely.loss)}
    assert likely.to_json()["metrics"]["nll"] == likely.metrics["nll"]


def test_results_of_different_metrics_are_not_compared():
    first = EvaluationResult.of([0.5], 0.1, protocol="p", fingerprint="f")
    second = EvaluationResult.of([0.5], 0.1, protocol="p", fingerprint="f", metric="mse", higher_is_better=False)
    with pytest.raises(DataError, match="accuracy and mse"):
        compare(first, second)
