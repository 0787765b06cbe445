from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from metacortex.errors import DataError, MetacortexError, RunError, SettingsError
from metacortex.estimators import source
from metacortex.estimators.classifier import NONE_OF_THESE, FewShotClassifier
from metacortex.estimators.regressor import FewShotRegressor
from metacortex.learners.registry import make_learner

from .estimator_support import blobs, drawings


@pytest.mark.parametrize("estimator", [FewShotClassifier(), FewShotRegressor()], ids=["classifier", "regressor"])
def test_conventions_of_scikit_learn(estimator: Any) -> None:
    results = check_estimator(estimator, on_skip=None)
    assert len(results) > 40
    assert {r["status"] for r in results} <= {"passed", "skipped"}


class TestTables:
    def test_learns_names(self) -> None:
        X, y = blobs(5)
        model = FewShotClassifier().fit(X, y)
        more, names = blobs(50, seed=1)
        assert model.score(more, names) > 0.95
        assert model.classes_.tolist() == ["class 0", "class 1", "class 2"]
        assert model.input_kind_ == "table"

    @pytest.mark.parametrize("head", ["prototype", "ridge", "kernel"])
    def test_heads(self, head: str) -> None:
        X, y = blobs(4)
        model = FewShotClassifier(head=head).fit(X, y)
        assert model.adapted_.head.spec.kind == head  # type: ignore[attr-defined]
        assert model.score(*blobs(50, seed=1)) > 0.9

    def test_one_example_each(self) -> None:
        assert FewShotClassifier().fit(*blobs(1)).score(*blobs(50, seed=1)) > 0.8

    def test_units_of_columns_do_not_matter(self) -> None:
        X, y = blobs(4)
        more, _ = blobs(20, seed=1)
        scale, shift = np.array([1.0, 1e6, 1e-6, 3.0]), np.array([0.0, 1e7, 1.0, -2.0])
        plain, scaled = FewShotClassifier().fit(X, y), FewShotClassifier().fit(X * scale + shift, y)
        np.testing.assert_allclose(plain.predict_proba(more), scaled.predict_proba(more * scale + shift), atol=1e-6)

    def test_order_of_examples_does_not_matter(self) -> None:
        X, y = blobs(4)
        order = np.random.default_rng(0).permutation(len(X))
        more, _ = blobs(20, seed=1)
        p, q = FewShotClassifier().fit(X, y), FewShotClassifier().fit(X[order], y[order])
        np.testing.assert_allclose(p.predict_proba(more), q.predict_proba(more), atol=1e-9)

    def test_probabilities_are_calibrated(self) -> None:
        """Overlapping clouds: what is said with 80 % is right four times in five, over many tasks."""
        sure, right = [], []
        for seed in range(30):
            X, y = blobs(8, apart=1.0, seed=100 + seed)
            more, names = blobs(60, apart=1.0, seed=seed)
            model = FewShotClassifier().fit(X, y)
            p = model.predict_proba(more)
            sure.append(p.max(1))
            right.append(model.classes_[p.argmax(1)] == names)
        p, hits = np.concatenate(sure), np.concatenate(right)
        bins = np.minimum((p * 10).astype(int), 9)
        error = sum(abs(p[bins == b].mean() - hits[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
        assert error < 0.06
        assert 0.6 < hits.mean() < 0.95  # neither easy nor hopeless

    def test_tools_of_scikit_learn(self) -> None:
        X, y = blobs(6)
        model = make_pipeline(MinMaxScaler(), FewShotClassifier())
        assert cross_val_score(model, X, y, cv=3).mean() > 0.9
        fitted = FewShotClassifier(head="ridge").fit(X, y)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
        assert clone(fitted).get_params() == fitted.get_params()
        assert not hasattr(clone(fitted), "classes_")


class TestRejection:
    def test_strangers(self) -> None:
        X, y = blobs(12)
        model = FewShotClassifier(reject=True, accept=0.9).fit(X, y)
        more, names = blobs(100, seed=1)
        answers = model.predict(more)
        assert 0.8 < (answers != NONE_OF_THESE).mean() < 0.99
        known = answers != NONE_OF_THESE
        assert (answers[known] == names[known]).mean() > 0.95
        assert (model.predict(more + 50) == NONE_OF_THESE).all()
        np.testing.assert_allclose(model.predict_proba(more + 50).sum(1), 1)

    def test_off_by_default(self) -> None:
        model = FewShotClassifier().fit(*blobs(12))
        assert set(model.predict(blobs(5)[0] + 50)) <= set(model.classes_)

    def test_label_of_ones_own(self) -> None:
        model = FewShotClassifier(reject="?").fit(*blobs(5))
        assert model.predict(np.full((1, 4), 1e3)).tolist() == ["?"]

    def test_novelty_agrees(self) -> None:
        model = FewShotClassifier(reject=True).fit(*blobs(8))
        more = blobs(30, seed=2)[0] * 1.5
        rejected = model.predict(more) == NONE_OF_THESE
        np.testing.assert_array_equal(rejected, model.novelty(more) > model.threshold_)


@pytest.mark.usefixtures("network")
class TestImages:
    def test_arrays_files_and_pictures_are_one(self, tmp_path: Path) -> None:
        images, names = drawings(3)
        model = FewShotClassifier().fit(images, names)
        assert model.score(*drawings(10, seed=1)) > 0.8
        more, _ = drawings(2, seed=2)
        expected = model.predict_proba(more)
        paths = []
        for number, image in enumerate(more):
            paths.append(tmp_path / f"{number}.png")
            Image.fromarray((image * 255).astype(np.uint8)).save(paths[-1])
        for same in (paths, [str(p) for p in paths], [Image.open(p) for p in paths], list(more)):
            np.testing.assert_allclose(model.predict_proba(same), expected, atol=1e-9)

    def test_one_answer_does_not_depend_on_the_others(self) -> None:
        model = FewShotClassifier().fit(*drawings(3))
        more, _ = drawings(4, seed=3)
        alone = np.concatenate([model.predict_proba(more[i : i + 1]) for i in range(len(more))])
        np.testing.assert_allclose(alone, model.predict_proba(more), atol=1e-5)

    def test_another_kind_is_refused(self) -> None:
        model = FewShotClassifier().fit(*drawings(2))
        with pytest.raises(DataError, match="fitted on images"):
            model.predict(["a text"])

    def test_regression_on_images(self) -> None:
        """How far down a lying bar is drawn is forgotten by framing, how thick it is is not."""
        sizes = np.tile([1.0, 2.0, 3.0, 4.0], 3)
        images = np.zeros((12, 30, 30))
        for row, size in enumerate(sizes):
            images[row, 10 : 10 + int(size), 3:27] = 1
        model = FewShotRegressor().fit(images, sizes)
        np.testing.assert_allclose(model.predict(images), sizes, atol=0.3)


class TestTexts:
    TEXTS = ("the cat sat here", "a cat is a cat", "my cats sleep", "stock prices fell", "the price of stock", "prices")
    NAMES = ("animal", "animal", "animal", "money", "money", "money")

    def test_n_grams(self) -> None:
        model = FewShotClassifier().fit(list(self.TEXTS), self.NAMES)
        assert model.predict(["two cats", "stocks and prices"]).tolist() == ["animal", "money"]

    def test_encode(self) -> None:
        def encode(texts: Any) -> np.ndarray:
            return np.array([[text.count("cat"), text.count("price")] for text in texts], dtype=float)

        model = FewShotClassifier(encode=encode).fit(list(self.TEXTS), self.NAMES)
        assert model.predict(["cat cat"]).tolist() == ["animal"]
        with pytest.raises(DataError, match="encode must give"):
            FewShotClassifier(encode=lambda texts: np.zeros(3)).fit(list(self.TEXTS), self.NAMES)


class TestModels:
    def test_a_learner_adapts_in_its_own_way(self) -> None:
        learner = make_learner("protonet", input_shape=(4,), backbone="mlp", backbone_options={"hidden": [16]})
        X, y = blobs(3)
        model = FewShotClassifier(learner).fit(X, y)
        expected = model.classes_[model.adapted_.predictor(torch.from_numpy(X).float()).argmax(-1).numpy()]  # type: ignore[attr-defined]
        np.testing.assert_array_equal(model.predict(X), expected)
        assert model.score(X, y) > 0.8
        assert FewShotClassifier(learner, head="kernel").fit(X, y).score(X, y) > 0.8

    def test_wrong_shape(self) -> None:
        learner = make_learner("nearest_neighbour")
        assert FewShotClassifier(learner).fit(*blobs(3)).score(*blobs(20, seed=1)) > 0.8
        with pytest.raises(MetacortexError, match="heads need a learner with a backbone"):
            FewShotClassifier(learner, head="ridge").fit(*blobs(3))

    def test_no_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "DEFAULT_WEIGHTS", tmp_path)
        with pytest.raises(RunError, match="without image weights"):
            source.default_source.__wrapped__()

    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no run in"):
            FewShotClassifier(tmp_path / "x").fit(*blobs(2))


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"head": "kernels"}, "did you mean 'kernel'"),
        ({"accept": 1.5}, "accept must lie"),
        ({"reject": 3}, "reject must be"),
        ({"random_state": "a"}, "random_state must be"),
    ],
)
def test_parameters_are_checked(params: dict[str, Any], error: str) -> None:
    with pytest.raises(SettingsError, match=error):
        FewShotClassifier(**params).fit(*blobs(2))


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 classes"):
        FewShotClassifier().fit(np.zeros((3, 2)), ["a"] * 3)
