from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, RunError
from metacortex.evaluation.calibration import Calibration, calibrate, class_scale, fit_temperature, novelty_scores
from metacortex.learners.metric.protonet import ProtoNet


def _clusters(spread: float) -> ClassView:
    rng = np.random.default_rng(0)
    rows = 5 * rng.normal(size=(30, 1, 8)) + spread * rng.normal(size=(30, 12, 8))
    return ClassView.of(ClassStore.from_arrays(rows.reshape(-1, 8).astype(np.float32), np.repeat(np.arange(30), 12)))


def _learner() -> ProtoNet:
    return ProtoNet(torch.nn.Identity())


def test_the_threshold_accepts_the_share_asked_for_on_fresh_tasks():
    view = _clusters(1.0)
    found = calibrate(_learner(), view, tasks=100)
    fresh = calibrate(_learner(), view, tasks=100, seed=1)
    assert found.quantiles["0.95"] == pytest.approx(found.threshold)
    assert fresh.quantiles["0.9"] < found.threshold < fresh.quantiles["0.99"]
    assert found.false_accept < 0.05, "clusters far apart"
    assert calibrate(_learner(), _clusters(30.0), tasks=30).false_accept > 0.7, "negative control: no clusters"


def test_calibration_is_reproducible_and_changes_nothing():
    learner = _learner().train()
    state = torch.random.get_rng_state()
    assert calibrate(learner, _clusters(1.0), tasks=5) == calibrate(learner, _clusters(1.0), tasks=5)
    assert learner.training
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("metric", ["euclid", "cosine"])
def test_scores_do_not_depend_on_the_scale_of_embeddings(metric):
    torch.manual_seed(0)
    support, queries, targets = torch.randn(6, 4), torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    one = novelty_scores(support, targets, queries, metric)
    assert torch.allclose(one, novelty_scores(100 * support, targets, 100 * queries, metric), rtol=1e-4)
    assert (one >= 0).all()


def test_scores_by_hand():
    support, targets = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 2])
    queries = torch.tensor([[0.0, 0.0], [4.0, 3.0], [2.0, 0.0]])
    assert class_scale(support, targets) == 4.0
    assert novelty_scores(support, targets, queries).tolist() == [0.0, 0.75, 0.5]
    assert class_scale(support[:1], targets[:1]) is None
    assert novelty_scores(support[:1], targets[:1], queries, scale=2.0).tolist() == [0.0, 2.5, 1.0]


def test_temperature_undoes_a_factor_on_the_logits():
    torch.manual_seed(0)
    logits = torch.randn(4000, 5)
    targets = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    assert fit_temperature(logits, targets) == pytest.approx(1.0, abs=0.08)
    assert fit_temperature(7 * logits, targets) == pytest.approx(7.0, rel=0.08)


def test_too_few_classes_and_small_views():
    view = _clusters(1.0)
    with pytest.raises(DataError, match="at least 3 classes, split 'val' has 2"):
        calibrate(_learner(), ClassView.of(view.store, [0, 1]))
    assert calibrate(_learner(), ClassView.of(view.store, [0, 1, 2]), tasks=3).way == 2


def test_json_round_trip_and_damage():
    found = calibrate(_learner(), _clusters(1.0), tasks=3)
    content = json.loads(json.dumps(found.to_json()))
    assert Calibration.from_json(content) == found
    with pytest.raises(RunError, match="damaged"):
        Calibration.from_json({"version": 1})
    with pytest.raises(RunError, match="version 2"):
        Calibration.from_json({**content, "version": 2})
