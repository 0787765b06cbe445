"""The learned metric on transfers that are known, and measured transfer on tasks that are easy to tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from similarity_support import cloud, stripes, task

from metacortex.errors import DataError, SettingsError
from metacortex.similarity.baselines import PixelDistance
from metacortex.similarity.kept import kept_transfers
from metacortex.similarity.learned import LearnedDistance, PairFeatures
from metacortex.similarity.set_encoder import SetDistance
from metacortex.similarity.transfer import (
    TransferSettings,
    body_features,
    draw_few_shot,
    fine_tuned_accuracy,
    nearest_mean_accuracy,
    train_body,
    transfer_matrix,
)
from metacortex.task import Examples


def line(place: float) -> Examples:
    """A task at a place on a line."""
    return task(torch.tensor([[float(place), 0.0], [float(place), 1.0]]), torch.tensor([0, 1]))


PLACES = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0])
KNOWN = {f"at {p:g}": line(p) for p in PLACES}
QUICK = TransferSettings(widths=(4, 4), steps=12, batch_size=16, way=3, shot=2, queries=2, tasks=6, shift=1)


def test_features_by_hand() -> None:
    """Three known tasks; the new one is as far from the first as from the second, and very far from the third."""
    transfers = np.array([[9.0, 0.8, 0.1], [0.5, 9.0, 0.7], [0.1, 0.2, 9.0]])
    direct = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    found = PairFeatures.learn(transfers, [direct], 0.5)
    np.testing.assert_allclose(found.z[:, 0], [np.nan, 1.0, -1.0])
    new = np.array([[3.0], [3.0], [500.0]])
    x = found.columns([new], [new], [None])[:, 0]  # [known, 3]
    np.testing.assert_allclose(x[:, 0], np.nanmean(found.z, 1))
    # The third target's weight is e^-∞; the first source has no transfer to itself, so the second target remains.
    np.testing.assert_allclose(x[:, 1], [found.z[0, 1], found.z[1, 0], (found.z[2, 0] + found.z[2, 1]) / 2], atol=1e-12)
    mean, deviation = 4 / 3, np.std([1, 2, 1, 1, 2, 1])
    np.testing.assert_allclose(x[:, 2], -(new[:, 0] - mean) / deviation)
    # A known task as the new one is left out of the means.
    left = found.columns([direct], [direct], [0, 1, 2])
    assert left[0, 1, 0] == pytest.approx(found.z[0, 2])
    assert left[1, 0, 0] == pytest.approx(found.z[1, 2])


def test_learns_that_near_is_good() -> None:
    """Where transfer falls with distance, the nearest comes first, for tasks never seen."""
    transfers = -np.abs(PLACES[:, None] - PLACES)
    learned = LearnedDistance([PixelDistance("mean")]).fit(KNOWN, transfers)
    for place in (0.4, 1.6, 6.4):
        names = [r.name for r in learned.rank(line(place), KNOWN)]
        wanted = [f"at {p:g}" for p in PLACES[np.argsort(np.abs(PLACES - place))]]
        assert set(names[:3]) == set(wanted[:3])


def test_learns_that_distance_is_beside_the_point() -> None:
    """Where one known task serves all best, it comes first for a new task far from it: pixels do not say so."""
    transfers = np.tile(np.array([0.9, 0.2, 0.3, 0.1, 0.25, 0.15])[:, None], 6) + 0.01 * np.sin(np.arange(36)).reshape(
        6, 6
    )
    learned = LearnedDistance([PixelDistance("mean")]).fit(KNOWN, transfers)
    assert learned.rank(line(6.6), KNOWN)[0].name == "at 0"
    assert PixelDistance("mean").rank(line(6.6), KNOWN)[0].name == "at 7"


def test_what_cannot_be_learned() -> None:
    measure = PixelDistance("mean")
    with pytest.raises(SettingsError, match="a measure or more"):
        LearnedDistance([])
    with pytest.raises(DataError, match="4 known tasks or more"):
        LearnedDistance([measure]).fit({"a": line(0.0)}, np.zeros((1, 1)))
    with pytest.raises(DataError, match=r"expected transfers \[6, 6\], got \[2, 2\]"):
        LearnedDistance([measure]).fit(KNOWN, np.zeros((2, 2)))
    with pytest.raises(DataError, match="not learned yet"):
        LearnedDistance([measure]).rank(line(0.0), KNOWN)
    learned = LearnedDistance([measure]).fit(KNOWN, np.random.default_rng(0).random((6, 6)))
    with pytest.raises(DataError, match="transfer of stranger was not measured"):
        learned.rank(line(0.0), {"stranger": line(3.0)})
    with pytest.raises(DataError, match="known tasks together"):
        learned.distance(None, None)


def test_set_encoder_learns_to_foretell() -> None:
    """Transfer by nearness of places along one of two axes: the encoder finds it, the order of new tasks follows."""
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, 12)
    known = {str(i): cloud(i, shift=2 * p) for i, p in enumerate(places)}
    transfers = -np.abs(places[:, None] - places)
    measure = SetDistance(steps=60, seed=1).fit(known, transfers)
    ranking = [places[int(r.name)] for r in measure.rank(cloud(99, shift=1.6), known)]
    assert np.mean(ranking[:4]) > np.mean(ranking[-4:]) + 0.5


def test_transfer_from_a_task_to_itself_is_learned() -> None:
    """A network trained on a task serves other drawings of it better than chance; twice the same."""
    source = stripes(0, 1, way=4, shot=8)
    body = train_body(source, QUICK)
    features = body_features(body, source.inputs)
    rows = draw_few_shot(source.targets, QUICK)
    assert rows.shape == (6, 3, 4)
    for drawn in rows:
        assert len(drawn.unique()) == 12
        assert (source.targets[drawn] == source.targets[drawn][:, :1]).all()
    score = nearest_mean_accuracy(features, rows, QUICK.shot)
    assert score > 0.6
    assert nearest_mean_accuracy(body_features(train_body(source, QUICK), source.inputs), rows, QUICK.shot) == score
    # No step of fine-tuning leaves the nearest-mean classifier.
    assert fine_tuned_accuracy(body, source, QUICK, steps=0) == pytest.approx(score, abs=1e-6)
    assert fine_tuned_accuracy(body, source, QUICK, steps=3) > 0.6


def test_transfer_matrix_knows_its_diagonal() -> None:
    tasks = {"a": stripes(0, 1), "b": stripes(1, 2)}
    seen: list[tuple[int, int]] = []
    found = transfer_matrix(tasks, tasks, QUICK, progress=lambda *at: seen.append(at))
    assert np.isnan(found.diagonal()).all()
    assert ((found[~np.eye(2, dtype=bool)] > 0.2) & (found[~np.eye(2, dtype=bool)] <= 1)).all()
    assert seen == [(1, 2), (2, 2)]


def test_transfers_are_kept(tmp_path: Path) -> None:
    tasks = {"a": stripes(0, 1), "b": stripes(1, 2)}
    first = kept_transfers(tmp_path / "x.json", tasks, QUICK)
    turned = kept_transfers(tmp_path / "x.json", dict(reversed(tasks.items())), QUICK)
    np.testing.assert_array_equal(turned, first[::-1, ::-1])
    with pytest.raises(DataError, match="other settings"):
        kept_transfers(tmp_path / "x.json", tasks, TransferSettings(seed=9))
    with pytest.raises(DataError, match="other examples of b"):
        kept_transfers(tmp_path / "x.json", {**tasks, "b": stripes(1, 3)}, QUICK)


def test_equal_number_of_classes() -> None:
    """Training on 3 of 5 classes: a function of the seed, and not what all classes give."""
    source = stripes(0, 1)
    some = [train_body(source, TransferSettings(widths=(4,), steps=2, classes=3, seed=s)) for s in (0, 0, 1)]
    first = [next(iter(body.parameters())) for body in some]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    with pytest.raises(DataError, match="9 classes or more, got one of 5"):
        train_body(source, TransferSettings(classes=9))
    with pytest.raises(SettingsError, match="steps must be at least 1"):
        TransferSettings(steps=0)
    with pytest.raises(DataError, match="two classes or more with 99 examples"):
        draw_few_shot(source.targets, TransferSettings(queries=94))
