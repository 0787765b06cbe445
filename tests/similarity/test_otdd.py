"""Optimal transport between labelled sets against closed forms."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from similarity_support import cloud, task

from metacortex.errors import MissingExtraError
from metacortex.similarity.otdd import OTDD, label_distances, labelled_transport


def test_identical_sets_are_at_distance_zero() -> None:
    measure = OTDD()
    a = measure.embed(cloud(0))
    value, coupling = labelled_transport(a, a)
    assert value == pytest.approx(0.0, abs=1e-6)
    assert coupling.sum() == pytest.approx(1.0)
    torch.testing.assert_close(torch.from_numpy(coupling), torch.eye(24, dtype=torch.float64) / 24)


def test_moving_both_changes_nothing_and_moving_one_adds_twice_its_square() -> None:
    """Features and means both move by t: OTDD² of a set and its copy moved by t is 2 ‖t‖²."""
    measure = OTDD()
    a, b, moved_a, moved_b = (measure.embed(cloud(*s)) for s in ((0,), (1,), (0, 4, 6, 5, 0.7), (1, 4, 6, 5, 0.7)))
    assert measure.distance(moved_a, moved_b) == pytest.approx(measure.distance(a, b), rel=1e-5)
    assert measure.distance(a, moved_a) ** 2 == pytest.approx(2 * 5 * 0.7**2, rel=1e-5)


def test_symmetry_and_order() -> None:
    measure = OTDD()
    a, b = cloud(0), cloud(1, way=3)
    forth = measure.distance(measure.embed(a), measure.embed(b))
    assert forth == pytest.approx(measure.distance(measure.embed(b), measure.embed(a)), rel=1e-9)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = task(a.inputs[order], 3 - a.targets[order])
    assert measure.distance(measure.embed(shuffled), measure.embed(b)) == pytest.approx(forth, rel=1e-9)
    assert forth > 0.5


def test_bures_distance_of_full_gaussians() -> None:
    """Against tr S + tr S' − 2 tr (S^½ S' S^½)^½ with square roots of matrices."""
    a, b = OTDD(most=0).embed(cloud(2, way=1, shot=40)), OTDD(most=0).embed(cloud(3, way=1, shot=30))

    def root(m: torch.Tensor) -> torch.Tensor:
        values, vectors = torch.linalg.eigh(m)
        return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T

    s, t = a.spreads[0].T @ a.spreads[0], b.spreads[0].T @ b.spreads[0]
    expected = (a.means - b.means).square().sum() + s.trace() + t.trace() - 2 * root(root(s) @ t @ root(s)).trace()
    torch.testing.assert_close(label_distances(a, b)[0, 0], expected, rtol=1e-9, atol=1e-9)


def test_labels_matter() -> None:
    """The same points with other labels are at a distance, which only the labels explain."""
    a = cloud(0)
    mixed = task(a.inputs, torch.arange(24) % 4)
    measure = OTDD()
    assert measure.distance(measure.embed(a), measure.embed(mixed)) > 0.5


def test_one_point_each() -> None:
    """Two single points of a class each: √(‖x − x'‖² + ‖x − x'‖²)."""
    one, other = (task(torch.tensor([[v, 0.0]]), torch.zeros(1, dtype=torch.int64)) for v in (0.0, 3.0))
    measure = OTDD()
    assert measure.distance(measure.embed(one), measure.embed(other)) == pytest.approx(18**0.5)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ot":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"metacortex\[similarity\]"):
        OTDD()
