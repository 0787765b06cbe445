"""Reasons of estimators: for every kind of input, by heads and by learners that adapt in their own way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from metacortex.errors import DataError
from metacortex.estimators.classifier import FewShotClassifier
from metacortex.estimators.features import encode_texts, text_parts
from metacortex.estimators.regressor import FewShotRegressor
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.metric.r2d2 import R2D2
from metacortex.learners.model.base import Role
from metacortex.learners.model.cnp import CNP
from metacortex.learners.objective import MeanSquaredError

from .estimator_support import blobs, drawings

X, Y = blobs(4)
ASKED = blobs(1, seed=5)[0]
TEXTS = ["go home now", "stop it now", "where is it", "who is there", "stop there", "where to"]
MOODS = ["order", "order", "question", "question", "order", "question"]


@pytest.mark.parametrize("head", ["kernel", "ridge", "prototype"])
def test_a_table(head: str) -> None:
    model = FewShotClassifier(head=head).fit(X, Y)
    why = model.explain(ASKED)
    probabilities = model.predict_proba(ASKED)
    for query, one in enumerate(why):
        np.testing.assert_allclose(one.probabilities, probabilities[query], atol=1e-5)
        own = model.targets_ == one.answer
        if one.distances is None:
            assert one.influence[own].sum() > one.influence[~own].sum()
        else:  # without an example nearer than the mean, the prototype is farther, and the other way round
            assert one.distances.argmin() == one.answer
            assert one.influence[own].min() < 0 < one.influence[own].max()
        assert model.targets_[one.counter_example] != one.answer
        assert list(one.parts["column"]) == ["0", "1", "2", "3"]
        assert (one.distances is not None) == (head == "prototype")
        assert one.novelty is not None
        assert one.novelty[0] == pytest.approx(float(model.novelty(ASKED)[query]))
    json.dumps(why.to_json(), allow_nan=False)


def test_columns_sum_to_what_they_explain() -> None:
    """To the log-odds at the query, minus those at the mean; a column that says nothing adds nothing."""
    noise = np.concatenate([X, np.zeros((len(X), 1))], 1)
    asked = np.concatenate([ASKED, np.ones((len(ASKED), 1))], 1)
    model = FewShotClassifier(head="ridge").fit(noise, Y)
    one = model.explain(asked)[0]
    p = model.predict_proba(np.stack([asked[0], noise.mean(0)]))[:, one.answer]
    odds = np.log(p / (1 - p))
    assert sum(one.parts["column"].values()) == pytest.approx(odds[0] - odds[1], abs=0.01 * abs(odds[0]))
    assert max(one.parts["column"], key=lambda name: abs(one.parts["column"][name])) != "4"


def test_texts(tmp_path: Path) -> None:
    model = FewShotClassifier().fit(TEXTS, MOODS)
    why = model.explain(["where now"])
    (one,) = why
    assert why.classes[one.answer] == "question"
    assert why.examples[2] == "where is it"
    assert why.examples[int(one.influence.argmax())] == "where to"
    assert one.parts["word"]["where"] > 0 > one.parts["word"]["now"]
    assert sum(one.parts["word"].values()) == pytest.approx(sum(one.parts["n-gram"].values()))
    page = why.save(tmp_path / "why.html").read_text(encoding="utf-8")
    assert "where now" in page
    assert "n-gram" in page


def test_n_grams_share_what_their_columns_add() -> None:
    text = "Who is  there?"
    row = encode_texts([text], None)[0]
    found = text_parts(text, row)
    assert set(found["word"]) == {"Who", "is", "there?"}
    assert " wh" in found["n-gram"]
    for kind in ("n-gram", "word"):
        assert sum(found[kind].values()) == pytest.approx(row.sum())
    assert text_parts("  ", np.zeros(4096)) == {}


def test_words_are_left_out_of_what_a_callable_encodes() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        return np.array([["stop" in text or "go" in text, len(text.split())] for text in texts], dtype=float)

    model = FewShotClassifier(encode=encode).fit(TEXTS, MOODS)
    (one,) = model.explain(["please stop that"])
    words = one.parts["word"]
    assert max(words, key=lambda word: words[word]) == "stop"
    assert words["please"] == words["that"]


@pytest.mark.usefixtures("network")
def test_images(tmp_path: Path) -> None:
    images, names = drawings(2)
    model = FewShotClassifier().fit(images, names)
    why = model.explain(drawings(1, seed=3)[0])
    assert len(why) == 3
    pixels = why[0].pixels
    assert pixels is not None
    assert pixels.shape == (1, 28, 28)
    page = why.save(tmp_path / "why.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert model.explain(images[:1], parts=False)[0].pixels is None


@pytest.mark.usefixtures("network")
def test_photographs_and_names_of_any_letters(tmp_path: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3)).astype(np.uint8)
    model = FewShotClassifier().fit(photos, ["$\\cross$ 犬", "<i>$ " + "long " * 30] * 2)
    why = model.explain(photos[:1])
    assert why[0].pixels is not None
    assert why[0].pixels.shape == (4, 28, 28), "what the network sees, and three colours"
    assert "<i>$" not in why.save(tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_learner_in_its_own_way() -> None:
    torch.manual_seed(0)
    model = FewShotClassifier(MAML(nn.Linear(4, 3), inner_lr=0.1)).fit(X, Y)
    (one,) = model.explain(ASKED[:1])
    np.testing.assert_allclose(one.probabilities, model.predict_proba(ASKED[:1])[0], atol=1e-5)
    assert set(one.changes) == {"weight", "bias"}
    assert len(one.parts["column"]) == 4
    near = FewShotClassifier(ProtoNet(nn.Identity())).fit(X, Y).explain(ASKED[:1])[0]
    assert near.distances is not None


class TestValues:
    x = np.linspace(-2, 2, 9)[:, None]
    y = np.sin(x[:, 0])

    def test_a_function(self, tmp_path: Path) -> None:
        model = FewShotRegressor().fit(self.x, self.y)
        why = model.explain([[0.2], [1.1]])
        np.testing.assert_allclose([float(one.value) for one in why], model.predict([[0.2], [1.1]]), atol=1e-5)
        one = why[0]
        assert model.error_ is not None
        np.testing.assert_allclose(one.error, model.error_, atol=1e-5)
        assert one.weights is not None
        assert float(one.weights[:, 0] @ torch.from_numpy(self.y).float()) == pytest.approx(float(one.value), abs=1e-4)
        assert one.interval is not None
        assert float(one.interval[0]) < np.sin(0.2) < float(one.interval[1])
        assert one.parts == {}
        assert (why.examples[0], why.queries[1]) == ("example 0 at -2", "query 1 at 1.1")
        assert "data:image/png" in why.save(tmp_path / "why.html").read_text(encoding="utf-8")

    def test_columns_sum_to_what_they_explain(self) -> None:
        table = np.random.default_rng(0).normal(size=(12, 3))
        y = np.stack([table[:, 0] * 2, table[:, 1]], 1)
        model = FewShotRegressor(head="ridge").fit(table, y)
        (one,) = model.explain(table[:1])
        assert list(one.parts) == ["column (output 0)", "column (output 1)"]
        for output, (parts, largest) in enumerate(zip(one.parts.values(), ("0", "1"), strict=True)):
            ends = model.predict(np.stack([table[0], table.mean(0)]))[:, output]
            assert sum(parts.values()) == pytest.approx(ends[0] - ends[1], abs=1e-3)
            assert max(parts, key=lambda name: abs(parts[name])) == largest

    def test_a_learner_in_its_own_way(self) -> None:
        ridge = R2D2(nn.Identity(), ridge=0.1, scale=1.0, objective=MeanSquaredError())
        model = FewShotRegressor(ridge).fit(self.x, 1 + self.x[:, 0])
        why = model.explain([[0.5]])
        assert float(why[0].value) == pytest.approx(model.predict([[0.5]])[0])
        assert why[0].prior is not None
        assert why.curve is not None
        assert why.curve.prior is not None

    def test_what_a_learner_is_unsure_of_is_no_value(self) -> None:
        torch.manual_seed(0)
        learner = CNP(nn.Linear(1, 4), 4, Role("regression", 2), width=8, uncertainty=True)
        model = FewShotRegressor(learner).fit(self.x, np.stack([self.y, self.y], 1))
        assert model.predict(self.x[:2]).shape == (2, 2)
        assert model.explain(self.x[:1])[0].deviation is not None


def test_loaded_estimators_do_not_hold_their_examples(tmp_path: Path) -> None:
    again = FewShotClassifier.from_pretrained(FewShotClassifier().fit(X, Y).save_pretrained(tmp_path))
    with pytest.raises(DataError, match="does not hold them"):
        again.explain(ASKED)
    with pytest.raises(NotFittedError):
        FewShotRegressor().explain(ASKED)
