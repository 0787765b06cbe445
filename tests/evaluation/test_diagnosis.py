"""Calibration errors known beforehand, confusions by name, padding left out."""

from __future__ import annotations

import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.engine.gradient import evaluate_tasks
from metacortex.evaluation.diagnosis import Diagnosis
from metacortex.learners.registry import make_learner
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.functions import make_functions


def answers(sure: float, hits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the first of two classes, and targets that make the hits come true."""
    return torch.tensor([[sure, 1 - sure]]).repeat(len(hits), 1), (~hits).long()


def test_calibration_error_of_known_cases() -> None:
    always = Diagnosis()
    always.add(*answers(0.999, torch.ones(100, dtype=torch.bool)))
    assert always.to_json()["ece"] == pytest.approx(0.001, abs=1e-6)
    half = Diagnosis()
    half.add(*answers(0.999, torch.arange(100) % 2 == 0))
    assert half.to_json()["ece"] == pytest.approx(0.499, abs=1e-6)
    both = Diagnosis()  # two bins whose errors must not cancel
    both.add(*answers(0.9, torch.arange(50) < 30))
    both.add(*answers(0.6, torch.arange(50) < 45))
    found = both.to_json()
    assert found["ece"] == pytest.approx(0.3, abs=1e-6)
    assert [(row["count"], round(row["accuracy"], 6)) for row in found["reliability"]] == [(50, 0.9), (50, 0.6)]
    assert Diagnosis().to_json() == {}


def test_confusions_by_name() -> None:
    diagnosis = Diagnosis()
    probabilities = torch.eye(3)[[0, 1, 1, 2]]
    diagnosis.add(probabilities, torch.tensor([0, 0, 0, 2]), ["b", "d", "p"])
    found = diagnosis.to_json()
    assert found["confusions"] == [{"shown": "b", "taken_for": "d", "count": 2, "of": 3}]
    assert found["matrix"] == {"classes": ["b", "d", "p"], "rows": [[1, 2, 0], [0, 0, 0], [0, 0, 1]]}


def test_matrix_of_a_few_classes() -> None:
    diagnosis = Diagnosis()
    diagnosis.add(torch.eye(2)[[0, 1, 1, 1]], torch.tensor([0, 0, 1, 1]), ["b", "d"])
    diagnosis.add(torch.eye(2)[[0, 0]], torch.tensor([0, 1]), ["d", "b"])
    matrix = diagnosis.to_json()["matrix"]
    assert matrix == {"classes": ["b", "d"], "rows": [[1, 2], [0, 3]]}
    many = Diagnosis()
    many.add(torch.eye(40), torch.arange(40), [str(i) for i in range(40)])
    assert "matrix" not in many.to_json()


def test_padding_is_left_out() -> None:
    noise = torch.Generator().manual_seed(0)
    rows = torch.rand(60, 8, generator=noise).numpy()
    view = ClassView.of(ClassStore.from_arrays(rows, torch.arange(6).repeat_interleave(10).numpy(), name="x"), range(6))
    tasks = Episodes(view, EpisodeSpec(way=(2, 4), shot=1, queries=(1, 3)), seed=0, split="test")
    learner = make_learner("protonet", input_shape=(8,), backbone="mlp")
    diagnosis = Diagnosis()
    batch = tasks.batch(range(5))
    diagnosis.observe(batch, evaluate_tasks(learner, batch))
    found = diagnosis.to_json()
    real = sum(len(tasks.task(i).query.targets) for i in range(5))
    assert sum(row["count"] for row in found["reliability"]) == real
    assert min(row["confidence"] for row in found["reliability"]) >= 0.25


def test_regression_has_nothing_to_diagnose() -> None:
    learner = make_learner("maml", kind="regression", input_shape=(1,), way=1, backbone="mlp")
    batch = make_functions("sinusoid", shot=5, seed=0, split="test").batch(range(2))
    diagnosis = Diagnosis()
    diagnosis.observe(batch, evaluate_tasks(learner, batch))
    assert diagnosis.to_json() == {}
