from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from metacortex.errors import DataError, SettingsError
from metacortex.estimators.adapted import folds
from metacortex.estimators.classifier import FewShotClassifier
from metacortex.estimators.estimate import Estimate, wilson_interval
from metacortex.evaluation.intervals import Interval, mean_interval, paired_interval

from .estimator_support import blobs, drawings


class TestFolds:
    def test_each_part_leaves_an_example_of_each_class(self) -> None:
        targets = np.array([0] * 7 + [1] * 2 + [2])
        for seed in range(20):
            parts = folds(targets, 5, np.random.default_rng(seed))
            held = np.stack(parts).sum(0)
            assert held.tolist() == [1] * 9 + [0]
            for part in parts:
                assert set(targets[~part]) == {0, 1, 2}

    def test_shares_of_classes(self) -> None:
        targets = np.repeat([0, 1], 10)
        for part in folds(targets, 5, np.random.default_rng(0)):
            assert np.bincount(targets[part]).tolist() == [2, 2]


class TestEstimate:
    @pytest.mark.parametrize(("shot", "tasks"), [(3, 60), (5, 40)])
    def test_covers_the_truth(self, shot: int, tasks: int) -> None:
        """The interval holds the accuracy on new data in most of many tasks, also where examples are very few."""
        inside = []
        for seed in range(tasks):
            model = FewShotClassifier(head="ridge").fit(*blobs(shot, apart=1.2, seed=seed))
            found = model.estimate(repeats=1, folds=5, rivals=False)
            truth = model.score(*blobs(200, apart=1.2, seed=1000 + seed))
            inside.append(found.accuracy.low <= truth <= found.accuracy.high)
        assert np.mean(inside) >= 0.9

    def test_pure_noise_is_told_as_such(self) -> None:
        rng = np.random.default_rng(0)
        model = FewShotClassifier().fit(rng.standard_normal((30, 10)), np.repeat(["a", "b", "c"], 10))
        found = model.estimate(repeats=1, rivals=False)
        assert found.accuracy.low <= 1 / 3
        assert "not distinguishable from guessing" in found.verdict

    def test_rivals_on_a_table(self) -> None:
        found = FewShotClassifier().fit(*blobs(6)).estimate(repeats=1, folds=3)
        assert set(found.rivals) == {"nearest neighbours", "a linear probe", "a network trained on the examples"}
        assert all(rival.mean > 0.7 for rival in found.rivals.values())
        assert found.examples == 18
        assert found.shots == pytest.approx(4)
        assert json.loads(json.dumps(found.to_json()))["verdict"] == found.verdict == str(found)

    @pytest.mark.usefixtures("network")
    def test_rivals_on_images(self) -> None:
        found = FewShotClassifier().fit(*drawings(3)).estimate(repeats=1, folds=3)
        assert set(found.rivals) == {"nearest neighbours", "a linear probe", "fine-tuning"}

    def test_one_example_each_cannot_be_judged(self) -> None:
        with pytest.raises(DataError, match="no class has two examples"):
            FewShotClassifier().fit(*blobs(1)).estimate()
        with pytest.raises(SettingsError, match="repeats"):
            FewShotClassifier().fit(*blobs(2)).estimate(repeats=0)

    def test_examples_do_not_travel(self, tmp_path: Path) -> None:
        model = FewShotClassifier().fit(*blobs(3))
        loaded = FewShotClassifier.from_pretrained(model.save_pretrained(tmp_path))
        with pytest.raises(DataError, match="estimate before saving"):
            loaded.estimate()

    def test_verdicts(self) -> None:
        def verdict(gap: Interval) -> str:
            return Estimate(wilson_interval(0.8, 50), 0.5, 50, 4, {}, 4.0, {"x": gap}, {"x": gap}, {"y": "no"}).verdict

        assert "Better than x by 10 points" in verdict(Interval(0.1, 0.05, 0.05, 0.15))
        assert "is what this task needs" in verdict(Interval(0.1, 0.05, 0.05, 0.15))
        assert "Use x instead" in verdict(Interval(-0.1, 0.05, -0.15, -0.05))
        assert "No difference from x" in verdict(Interval(0.0, 0.05, -0.05, 0.05))
        assert "y was not tried: no" in verdict(Interval(0.0, 0.05, -0.05, 0.05))


class TestSuggest:
    def test_beats_random_choice(self) -> None:
        """Twelve digits get a label on top of eight; which ones matters, over many draws."""
        X, y = load_digits(return_X_y=True)
        chosen, at_random = [], []
        for seed in range(30):
            rng = np.random.default_rng(seed)
            rows = rng.permutation(len(X))[:700]
            first, pool, test = rows[:8], rows[8:300], rows[300:]
            model = FewShotClassifier(head="kernel").fit(X[first], y[first])
            picks = (pool[model.suggest(X[pool], 12)], rng.choice(pool, 12, replace=False))
            for found, pick in zip((chosen, at_random), picks, strict=True):
                labelled = np.concatenate([first, pick])
                found.append(FewShotClassifier(head="kernel").fit(X[labelled], y[labelled]).score(X[test], y[test]))
        gain = paired_interval(chosen, at_random)
        assert gain.low > 0.02, gain

    def test_no_example_twice_and_uncertain_ones_first(self) -> None:
        X, y = blobs(3, way=2)
        model = FewShotClassifier().fit(X, y)
        pool = np.concatenate([np.repeat(X[:1], 20, 0), 10 * np.ones((1, 4))])
        assert model.suggest(pool, 1).tolist() == [20]
        picks = model.suggest(pool, 21)
        assert sorted(picks.tolist()) == list(range(21))

    def test_counts_are_checked(self) -> None:
        model = FewShotClassifier().fit(*blobs(3))
        with pytest.raises(SettingsError, match="size of the pool, 3"):
            model.suggest(np.zeros((3, 4)), 4)


def test_wilson_against_known_values() -> None:
    """Wilson (1927); the ends of 8 of 10 by hand."""
    i = wilson_interval(0.8, 10)
    assert (round(i.low, 4), round(i.high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0.0, 5).low == 0.0
    assert mean_interval([1.0, 1.0]).low == 1.0  # why a mean's interval would not do
