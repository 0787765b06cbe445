"""The weights that come with the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from metacortex.errors import RunError
from metacortex.estimators.classifier import NONE_OF_THESE, FewShotClassifier
from metacortex.estimators.source import DEFAULT_WEIGHTS, default_source, load_source
from metacortex.settings import read_settings

DIGITS = load_digits()


def accuracy(shot: int, draws: int) -> float:
    found = []
    for seed in range(draws):
        rng = np.random.default_rng([shot, seed])
        support = np.concatenate(
            [rng.choice(np.flatnonzero(DIGITS.target == d), shot, replace=False) for d in range(10)]
        )
        rest = rng.choice(np.setdiff1d(np.arange(len(DIGITS.target)), support), 500, replace=False)
        model = FewShotClassifier().fit(DIGITS.images[support], DIGITS.target[support])
        found.append(model.score(DIGITS.images[rest], DIGITS.target[rest]))
    return float(np.mean(found))


def test_small_and_complete() -> None:
    files = [p for p in DEFAULT_WEIGHTS.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 2 * 2**20
    assert {p.name for p in files} >= {"config.json", "model.safetensors", "recipe.toml", "README.md"}


def test_are_those_of_the_recipe() -> None:
    settings = read_settings(DEFAULT_WEIGHTS / "recipe.toml")
    learner = json.loads((DEFAULT_WEIGHTS / "config.json").read_text())["learner"]
    assert settings.learner.name == learner["name"]
    for key, value in settings.backbone.options.items():
        assert learner["backbone_options"][key] == (list(value) if isinstance(value, tuple) else value)
    assert settings.data.name in default_source().facts["data"]


def test_digits_from_five_examples_and_from_one() -> None:
    """Fewer draws than in docs/results.md, and a little below the figures there."""
    assert accuracy(5, 5) > 0.94
    assert accuracy(1, 8) > 0.80


def test_strangers_are_rejected_and_digits_of_the_classes_are_not() -> None:
    """Drawn at random: the digits lie in the order of their writers, and `accept` promises nothing on other hands."""
    known, strange = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        support = np.concatenate([rng.choice(np.flatnonzero(DIGITS.target == d), 5, replace=False) for d in range(6)])
        model = FewShotClassifier(reject=True).fit(DIGITS.images[support], DIGITS.target[support])
        asked = rng.choice(np.setdiff1d(np.arange(len(DIGITS.target)), support), 200, replace=False)
        rejected = model.predict(DIGITS.images[asked]) == NONE_OF_THESE
        inside = DIGITS.target[asked] < 6
        known.append(rejected[inside].mean())
        strange.append(rejected[~inside].mean())
    assert np.mean(known) < 0.1
    assert np.mean(strange) > np.mean(known) + 0.2


def test_can_be_given_by_their_folder() -> None:
    images, names = DIGITS.images[:20], DIGITS.target[:20]
    by_folder = FewShotClassifier(str(DEFAULT_WEIGHTS)).fit(images, names)
    shipped = FewShotClassifier().fit(images, names)
    np.testing.assert_array_equal(by_folder.predict_proba(images), shipped.predict_proba(images))
    with pytest.raises(RunError, match="no run in"):
        load_source(DEFAULT_WEIGHTS.parent)
