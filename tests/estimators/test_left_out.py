"""Leaving examples out without fitting again, against fitting again."""

from __future__ import annotations

import numpy as np
import pytest

from metacortex.estimators import left_out
from metacortex.estimators.heads import Head, HeadSpec, fit_head, softmax
from metacortex.estimators.left_out import head_influences, left_out_scores, value_weights

RNG = np.random.default_rng(1)
VIEWS, VALUES, QUERY = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(5, 2)), RNG.normal(size=(2, 4))


def fitted_again(head: Head, keep: np.ndarray) -> np.ndarray:
    """Scores of the queries by the smaller system, with its own centre and bias, and the unit as it was."""
    flat, everything = VIEWS[:, keep].reshape(-1, 4), VIEWS.reshape(-1, 4) - head.center
    bias = VALUES[keep].mean(0)
    targets = np.tile(VALUES[keep] - bias, (3, 1))
    if head.rate:
        gram = np.exp(-head.rate * ((flat[:, None] - flat[None]) ** 2).sum(-1))
        near = np.exp(-head.rate * ((QUERY[:, None] - flat[None]) ** 2).sum(-1))
    else:
        scale, centred = (everything**2).sum(1).mean(), flat - flat.mean(0)
        gram, near = centred @ centred.T / scale, (QUERY - flat.mean(0)) @ centred.T / scale
    return near @ np.linalg.solve(gram + head.spec.penalty * np.eye(len(gram)), targets) + bias


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("spec", [HeadSpec("kernel", 0.1, 2.0), HeadSpec("ridge", 0.3)], ids=str)
def test_left_out_scores_solve_the_smaller_system(spec: HeadSpec, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the primal form, which ridge regression takes with very many rows."""
    head, _ = fit_head(spec, VIEWS, VALUES)
    if many and spec.kind == "ridge":
        monkeypatch.setattr(left_out, "LARGEST_KERNEL", 1)
    found = left_out_scores(head, VIEWS, VALUES, QUERY)
    for example in range(5):
        np.testing.assert_allclose(found[:, example], fitted_again(head, np.arange(5) != example), atol=1e-9)


def test_prototypes_without_an_example() -> None:
    """Distances in the unit of all examples; the scores differ from these by a constant of each query."""
    targets = np.array([0, 0, 1, 1, 1])
    values = np.eye(2)[targets] - 0.5
    head, _ = fit_head(HeadSpec("prototype"), VIEWS, values)
    found = left_out_scores(head, VIEWS, values, QUERY)
    rows = VIEWS.mean(0)
    means = np.stack([rows[targets == c].mean(0) for c in range(2)])
    unit = ((means[0] - means[1]) ** 2).sum()
    for example in range(5):
        keep = np.arange(5) != example
        middles = np.stack([rows[keep & (targets == c)].mean(0) for c in range(2)])
        distances = ((QUERY[:, None] - middles) ** 2).sum(-1) / unit
        np.testing.assert_allclose(found[:, example] + distances, np.repeat((QUERY**2).sum(1)[:, None] / unit, 2, 1))


@pytest.mark.parametrize("spec", [HeadSpec("kernel", 0.1, 2.0), HeadSpec("ridge", 0.3)], ids=str)
def test_weights_sum_the_values(spec: HeadSpec) -> None:
    head, _ = fit_head(spec, VIEWS, VALUES)
    np.testing.assert_allclose(value_weights(head, VIEWS, QUERY) @ VALUES, head.scores(QUERY), atol=1e-9)


@pytest.mark.parametrize("spec", [HeadSpec("kernel", 0.1, 2.0), HeadSpec("ridge", 0.3)], ids=str)
def test_without_its_only_example_a_head_has_its_bias(spec: HeadSpec) -> None:
    head, _ = fit_head(spec, VIEWS[:, :1], VALUES[:1])
    np.testing.assert_array_equal(left_out_scores(head, VIEWS[:, :1], VALUES[:1], QUERY)[1, 0], VALUES[0])


def test_an_example_alone_in_its_class() -> None:
    targets = np.array([0, 1, 1, 2, 2])
    head, _ = fit_head(HeadSpec("kernel", 0.1, 2.0), VIEWS, np.eye(3)[targets] - 1 / 3)
    found = head_influences(head, 0.5, VIEWS, targets, 3, VIEWS[0, :1])[0]
    probabilities = softmax(head.scores(VIEWS[0, :1]) / 0.5)[0]
    assert probabilities.argmax() == 0
    assert found[0] == pytest.approx(np.log(probabilities[0]) + np.log(3)), "beside an answer by lot"
    rest = left_out_scores(head, VIEWS, np.eye(3)[targets] - 1 / 3, VIEWS[0, :1])[0, 3] / 0.5
    assert found[3] == pytest.approx(np.log(probabilities[0]) - np.log(softmax(rest[None])[0, 0]))
