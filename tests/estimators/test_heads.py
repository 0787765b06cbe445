"""Heads against refitting, the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from metacortex.estimators.heads import (
    HeadSpec,
    candidates,
    choose_head,
    fit_head,
    fit_temperature,
    smoothed_loss,
    softmax,
    squared_distances,
)
from metacortex.estimators.novelty import learn_novelty

RNG = np.random.default_rng(0)
TARGETS = np.array([0, 0, 1, 1, 1, 2, 2])
FEATURES = RNG.standard_normal((7, 3)) + 2 * np.eye(3)[TARGETS]
VALUES = np.eye(3)[TARGETS] - 1 / 3


def kernel(a: np.ndarray, b: np.ndarray, rate: float) -> np.ndarray:
    return np.exp(-rate * ((a[:, None] - b[None]) ** 2).sum(-1))


def test_kernel_is_kernel_ridge_regression() -> None:
    head, _ = fit_head(HeadSpec("kernel", 0.1, 2.0), FEATURES[None], VALUES)
    apart = ((FEATURES[:, None] - FEATURES[None]) ** 2).sum(-1)
    rate = 2.0 / (apart.sum() / 42)
    bias = VALUES.mean(0)
    gram = kernel(FEATURES, FEATURES, rate)
    expected = gram @ np.linalg.solve(gram + 0.1 * np.eye(7), VALUES - bias) + bias
    np.testing.assert_allclose(head.scores(FEATURES), expected, atol=1e-10)


def test_ridge_solves_the_normal_equations() -> None:
    head, _ = fit_head(HeadSpec("ridge", 0.5), FEATURES[None], VALUES)
    centred = FEATURES - FEATURES.mean(0)
    scale = (centred**2).sum(1).mean()
    bias = VALUES.mean(0)
    weights = np.linalg.solve(centred.T @ centred / scale + 0.5 * np.eye(3), centred.T @ (VALUES - bias) / scale)
    np.testing.assert_allclose(head.weights, weights, atol=1e-10)


def test_prototype_is_the_nearest_mean() -> None:
    head, left_out = fit_head(HeadSpec("prototype"), FEATURES[None], VALUES)
    means = np.stack([FEATURES[np.equal(TARGETS, c)].mean(0) for c in range(3)])
    np.testing.assert_array_equal(head.scores(FEATURES).argmax(1), squared_distances(FEATURES, means).argmin(1))
    rest = FEATURES[np.equal(TARGETS, 1)][1:].mean(0)  # without the third example
    scale = squared_distances(means, means).sum() / 6
    expected = -(((FEATURES[2] - rest) ** 2).sum() - (FEATURES[2] ** 2).sum()) / scale
    assert left_out[2, 1] == pytest.approx(expected)


@pytest.mark.parametrize("views", [1, 3])
def test_left_out_predictions_are_those_of_a_fit_without(views: int) -> None:
    """With the kernel's width, which does not depend on targets, held fixed."""
    seen = np.stack([FEATURES + 0.1 * RNG.standard_normal(FEATURES.shape) for _ in range(views)])
    head, left_out = fit_head(HeadSpec("kernel", 0.1, 1.0), seen, VALUES)
    bias = VALUES.mean(0)
    for row in range(7):
        rest = np.delete(seen, row, 1).reshape(-1, 3)
        targets = np.tile(np.delete(VALUES - bias, row, 0), (views, 1))
        gram = kernel(rest, rest, head.rate)
        dual = np.linalg.solve(gram + 0.1 * np.eye(len(rest)), targets)
        expected = kernel(seen[0, row : row + 1], rest, head.rate) @ dual + bias
        np.testing.assert_allclose(left_out[row], expected[0], atol=1e-8)


def test_by_features_and_by_examples_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = HeadSpec("ridge", 0.5)
    by_examples, left_out = fit_head(spec, FEATURES[None], VALUES)
    monkeypatch.setattr("metacortex.estimators.heads.LARGEST_KERNEL", 3)
    by_features, also = fit_head(spec, FEATURES[None], VALUES)
    np.testing.assert_allclose(by_features.scores(FEATURES), by_examples.scores(FEATURES), atol=1e-10)
    np.testing.assert_allclose(also, left_out, atol=1e-8)


def test_choice_takes_what_left_out_examples_prefer() -> None:
    """Rings cannot be told apart by a line or a mean."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    views = np.concatenate([ring, 3 * ring])[None]
    targets = np.repeat([0, 1], 12)
    head, temperature, left_out = choose_head(candidates("auto", 24), views, targets, 2, 1.0)
    assert head.spec.kind == "kernel"
    assert (left_out.argmax(1) == targets).all()
    assert temperature < 1


def test_one_example_each_takes_the_first_and_the_given_temperature() -> None:
    views = FEATURES[[0, 2, 5]][None]
    head, temperature, left_out = choose_head(candidates("auto", 3), views, np.arange(3), 3, 0.7)
    assert head.spec == candidates("auto", 3)[0]
    assert temperature == 0.7
    assert np.isnan(left_out).all()


def test_temperature_of_known_distortion() -> None:
    rng = np.random.default_rng(1)
    logits = 2 * rng.standard_normal((20000, 4))
    targets = (softmax(logits).cumsum(1) > rng.random((20000, 1))).argmax(1)
    found, loss = fit_temperature(5 * logits, targets)
    assert found == pytest.approx(5, rel=0.06)
    assert loss == pytest.approx(smoothed_loss(logits, targets), rel=1e-3)


def test_few_right_answers_are_not_certainty() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    temperature, _ = fit_temperature(logits, np.array([0, 1]))
    p = softmax(logits / temperature)[0, 0]
    assert 0.8 < p < 0.92  # 1 - 1/4 + (1/4)/2: the rule of succession for two of two


class TestNovelty:
    def test_scores_and_left_out(self) -> None:
        embedded = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 0.0], [12.0, 0.0]])
        novelty = learn_novelty(embedded, np.array([0, 0, 1, 1]), 2, 0.5)
        assert novelty.unit == pytest.approx(10)
        np.testing.assert_allclose(novelty.scores(np.array([[1.0, 0.0], [1.0, 5.0]])), [0, 0.5])
        np.testing.assert_allclose(novelty.usual, [0.2] * 4)  # two from the other one, not one from their mean
        assert novelty.threshold(0.95) == pytest.approx(0.2)

    def test_quantile_is_conformal(self) -> None:
        rng = np.random.default_rng(0)
        accepted = []
        for _ in range(40):
            cloud = rng.standard_normal((400, 5))
            cloud[:200, 0] += 8
            targets = np.repeat([0, 1], 200)
            support = np.r_[0:30, 200:230]
            novelty = learn_novelty(cloud[support], targets[support], 2, 0.5)
            rest = np.delete(np.arange(400), support)
            accepted.append((novelty.scores(cloud[rest]) <= novelty.threshold(0.9)).mean())
        assert 0.88 <= np.mean(accepted) <= 0.94

    def test_without_pairs_the_given_threshold(self) -> None:
        assert learn_novelty(np.eye(3), np.arange(3), 3, 0.42).threshold(0.9) == 0.42
