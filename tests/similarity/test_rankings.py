"""The protocol, the set encoder, the baselines, and rankings of families whose kinship is known."""

from __future__ import annotations

import math

import pytest
import torch
from similarity_support import cloud, small_probe, stripes, task

from metacortex.errors import DataError, SettingsError
from metacortex.similarity.baselines import ClassCountDistance, PixelDistance
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.otdd import OTDD
from metacortex.similarity.set_encoder import SetDistance, SetEncoder
from metacortex.similarity.task2vec import Task2Vec

KNOWN = {
    f"{'rows' if family == 0 else 'columns'} {seed}": stripes(family, seed) for family in (0, 1) for seed in (1, 2, 3)
}


def measures() -> list[TaskDistance]:
    probe = small_probe()
    return [Task2Vec(probe, samples=0), SetDistance(probe, steps=40), OTDD(probe), PixelDistance()]


@pytest.mark.parametrize("measure", measures(), ids=lambda m: m.name)
def test_own_family_comes_first(measure: TaskDistance) -> None:
    """New tasks of classes that no known task has: strokes along the rows are nearest to others along the rows."""
    measure.fit(KNOWN)
    for family, name in ((0, "rows"), (1, "columns")):
        ranking = measure.rank(stripes(family, 9), KNOWN)
        assert ranking[0].name.startswith(name)
        own = [r.distance for r in ranking if r.name.startswith(name)]
        others = [r.distance for r in ranking if not r.name.startswith(name)]
        assert sum(own) / 3 < sum(others) / 3
        assert all(math.isfinite(r.distance) for r in ranking)
        assert [r.distance for r in ranking] == sorted(r.distance for r in ranking)


@torch.no_grad()
def test_set_encoder_knows_no_order_and_no_names() -> None:
    torch.manual_seed(0)
    encoder, a = SetEncoder(5).double(), cloud(0)
    a = task(a.inputs.double(), a.targets)
    order = torch.randperm(24)
    renamed = task(a.inputs[order], (a.targets[order] + 1) % 4)
    torch.testing.assert_close(encoder(renamed), encoder(a), rtol=1e-12, atol=1e-12)
    doubled = task(a.inputs.repeat(2, 1), a.targets.repeat(2))
    torch.testing.assert_close(encoder(doubled), encoder(a), rtol=1e-9, atol=1e-9)
    assert float(encoder(a).norm()) == pytest.approx(1.0, abs=1e-6)
    # Negative control: which examples share a class does matter.
    mixed = task(a.inputs, torch.arange(24) % 4)
    assert float((encoder(mixed) - encoder(a)).abs().max()) > 1e-3


@torch.no_grad()
def test_classes_without_examples_are_left_out() -> None:
    torch.manual_seed(0)
    encoder, a = SetEncoder(5), cloud(0)
    padded = type(a)(a.inputs, a.targets, classes=torch.tensor([True] * 4 + [False]))
    torch.testing.assert_close(encoder(padded), encoder(a))


def test_training_is_repeatable_and_leaves_random_state_alone() -> None:
    state = torch.get_rng_state()
    a, b = (SetDistance(steps=5, seed=3).fit(KNOWN).embed(KNOWN["rows 1"]) for _ in range(2))
    assert (a == b).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_class_count_ranks_the_largest_first() -> None:
    known = {"three": cloud(0, way=3), "seven": cloud(1, way=7), "five": cloud(2, way=5)}
    ranking = ClassCountDistance().rank(cloud(3), known)
    assert [(r.name, r.way, r.examples) for r in ranking] == [("seven", 7, 42), ("five", 5, 30), ("three", 3, 18)]
    assert ranking[0].distance == pytest.approx(-math.log(7))


def test_pixel_distances_by_hand() -> None:
    a = task(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1]))
    b = task(torch.tensor([[0.0, 1.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    for kind, expected in (("nearest", (1 + 4) / 2), ("mean", 2.5)):
        measure = PixelDistance(kind)
        assert measure.distance(measure.embed(a), measure.embed(b)) == pytest.approx(expected)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="no known task"):
        PixelDistance().rank(cloud(0), {})
    with pytest.raises(DataError, match=r"inputs of one shape, got \(5,\) of the new task and \(4,\) of b"):
        PixelDistance().rank(cloud(0), {"b": cloud(0, size=4)})
    with pytest.raises(DataError, match="two known tasks"):
        SetDistance().fit({"a": cloud(0)})
    with pytest.raises(DataError, match="not learned yet"):
        SetDistance().embed(cloud(0))
    with pytest.raises(SettingsError, match="did you mean 'nearest'"):
        PixelDistance("nearst")
    with pytest.raises(SettingsError, match="positive"):
        SetDistance(steps=0)


def test_equal_distances_are_in_the_order_of_names() -> None:
    same = {"b": cloud(0), "a": cloud(1)}
    assert [r.name for r in ClassCountDistance().rank(cloud(2), same)] == ["a", "b"]
