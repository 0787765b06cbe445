from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from metacortex.errors import LearnerError, MissingExtraError, RunError
from metacortex.estimators.classifier import FewShotClassifier
from metacortex.estimators.regressor import FewShotRegressor
from metacortex.estimators.source import load_source
from metacortex.learners.registry import make_learner
from metacortex.settings import from_mapping
from metacortex.training.run import train

from .estimator_support import blobs, drawings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of a small ProtoNet on bars and crosses."""
    data = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        for name, image in zip(*reversed(drawings(6)), strict=True):
            place = data / split / f"{split} {name}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image).astype(np.uint8)).save(place / f"{len(list(place.iterdir()))}.png")
    settings = from_mapping(
        {
            "learner": {"name": "protonet"},
            "backbone": {"name": "conv4", "channels": 4, "reduction": "stride"},
            "data": {"name": str(data), "way": 3, "queries": 2, "train_way": 3},
            "training": {"steps": 2, "validate_every": 2, "validation_tasks": 2},
        }
    )
    return train(settings, tmp_path_factory.mktemp("run") / "small", progress=False, command=["test"]).path


def same(model: Any, loaded: Any, X: Any) -> None:
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-6)
        np.testing.assert_allclose(loaded.novelty(X), model.novelty(X), atol=1e-6)
        assert loaded.threshold_ == pytest.approx(model.threshold_)
        np.testing.assert_array_equal(loaded.suggest(X, 2), model.suggest(X, 2))
    assert loaded.get_params() == model.get_params()


class TestRoundTrip:
    @pytest.mark.parametrize("head", ["auto", "prototype", "ridge"])
    def test_table(self, head: str, tmp_path: Path) -> None:
        X, y = blobs(4)
        model = FewShotClassifier(head=head, reject=True, accept=0.9).fit(X, y)
        folder = model.save_pretrained(tmp_path / "kept", results=model.estimate(repeats=1, rivals=False))
        assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
        same(model, FewShotClassifier.from_pretrained(folder), blobs(20, seed=1)[0])

    @pytest.mark.parametrize("labels", [[1, 2, 3], [True, False, True], [0.5, 1.5, 0.5], ["é", 'a"b', "c"]])
    def test_labels_keep_their_type(self, labels: list[Any], tmp_path: Path) -> None:
        X = np.random.default_rng(0).standard_normal((6, 2))
        y = np.array(labels * 2)
        if y.dtype.kind == "f":
            y = y.astype(str)
        loaded = FewShotClassifier.from_pretrained(FewShotClassifier().fit(X, y).save_pretrained(tmp_path))
        assert loaded.predict(X).dtype == y.dtype

    @pytest.mark.usefixtures("network")
    def test_images(self, tmp_path: Path) -> None:
        images, names = drawings(2, high=16.0)
        model = FewShotClassifier().fit(images, names)
        same(model, FewShotClassifier.from_pretrained(model.save_pretrained(tmp_path)), drawings(3, 1, high=16.0)[0])

    def test_texts_and_encode(self, tmp_path: Path) -> None:
        texts, names = ["aa ab", "ab aa", "zz zy", "zy zz"], ["a", "a", "z", "z"]
        model = FewShotClassifier().fit(texts, names)
        same(model, FewShotClassifier.from_pretrained(model.save_pretrained(tmp_path / "1")), texts)

        def encode(items: Any) -> np.ndarray:
            return np.array([[len(set(text)), text.count("a")] for text in items], dtype=float)

        model = FewShotClassifier(encode=encode).fit(texts, names)
        folder = model.save_pretrained(tmp_path / "2")
        same(model, FewShotClassifier.from_pretrained(folder, encode=encode), texts)
        with pytest.raises(RunError, match="give it again as encode"):
            FewShotClassifier.from_pretrained(folder)

    def test_regressor(self, tmp_path: Path) -> None:
        x = np.linspace(-1, 1, 8)[:, None]
        for y in (x[:, 0] ** 2, np.stack([x[:, 0], x[:, 0] ** 2], 1)):
            model = FewShotRegressor().fit(x, y)
            loaded = FewShotRegressor.from_pretrained(model.save_pretrained(tmp_path))
            np.testing.assert_allclose(loaded.predict(x), model.predict(x))

    def test_run(self, run: Path, tmp_path: Path) -> None:
        images, names = drawings(2)
        for head in ("auto", "kernel"):
            model = FewShotClassifier(str(run), head=head).fit(images, names)
            folder = model.save_pretrained(tmp_path / head)
            same(model, FewShotClassifier.from_pretrained(folder), drawings(3, 1)[0])


class TestCard:
    def test_says_what_it_is_and_what_was_measured(self, tmp_path: Path) -> None:
        model = FewShotClassifier().fit(*blobs(4))
        results = model.estimate(repeats=1)
        card = (model.save_pretrained(tmp_path, results=results) / "README.md").read_text("utf-8")
        front = card.split("---")[1]
        assert "library_name: metacortex" in front
        assert "pipeline_tag: tabular-classification" in front
        assert f"value: {results.accuracy.mean:.4f}" in front
        assert '`"class 1"`' in card
        assert "a linear probe" in card
        assert results.verdict in card

    def test_names_of_classes_cannot_become_markup(self, tmp_path: Path) -> None:
        X, _ = blobs(2, way=2)
        y = np.repeat(["a\n---\n# <script>", "b"], 2)
        card = (FewShotClassifier().fit(X, y).save_pretrained(tmp_path) / "README.md").read_text("utf-8")
        assert card.count("\n---\n") == 1
        assert "\n# <script>" not in card


class TestRefusals:
    def test_a_learner_of_ones_own(self, tmp_path: Path) -> None:
        learner = make_learner("nearest_neighbour")
        with pytest.raises(LearnerError, match="cannot be saved"):
            FewShotClassifier(learner).fit(*blobs(2)).save_pretrained(tmp_path)

    def test_damage(self, tmp_path: Path) -> None:
        folder = FewShotClassifier().fit(*blobs(2)).save_pretrained(tmp_path)
        with pytest.raises(RunError, match="expected a metacortex few-shot regressor"):
            FewShotRegressor.from_pretrained(folder)
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, "format": 99}))
        with pytest.raises(RunError, match="update metacortex"):
            FewShotClassifier.from_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({**content, "adapted": {}}))
        with pytest.raises(RunError, match="damaged"):
            FewShotClassifier.from_pretrained(folder)
        (folder / "config.json").write_text("{")
        with pytest.raises(RunError, match="cannot be read"):
            FewShotClassifier.from_pretrained(folder)
        (folder / "config.json").unlink()
        with pytest.raises(RunError, match=r"no config\.json"):
            FewShotClassifier.from_pretrained(folder)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="there is no folder"):
            FewShotClassifier.from_pretrained(tmp_path / "nothing")

    def test_a_saved_estimator_is_no_network(self, tmp_path: Path) -> None:
        folder = FewShotClassifier().fit(*blobs(2)).save_pretrained(tmp_path)
        with pytest.raises(RunError, match="not weights of a learner"):
            load_source(folder)


class TestHub:
    def test_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(MissingExtraError, match=r"metacortex\[hub\]"):
            FewShotClassifier.from_pretrained("someone/something")
        with pytest.raises(MissingExtraError, match=r"metacortex\[hub\]"):
            FewShotClassifier().fit(*blobs(2)).push_to_hub("someone/something")

    def test_uploads_three_files_and_loads_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Against a hub that is a folder."""
        calls: dict[str, Any] = {}

        class HfApi:
            def __init__(self, token: str | None = None) -> None:
                calls["token"] = token

            def create_repo(self, name: str, **options: Any) -> None:
                calls["repo"] = (name, options)

            def upload_folder(self, repo_id: str, folder_path: Path, **options: Any) -> str:
                for path in Path(folder_path).iterdir():
                    (tmp_path / path.name).write_bytes(path.read_bytes())
                return f"hub/{repo_id}"

        hub = ModuleType("huggingface_hub")
        hub.__dict__.update(vars(SimpleNamespace(HfApi=HfApi, snapshot_download=lambda name, **o: str(tmp_path))))
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        model = FewShotClassifier().fit(*blobs(3))
        assert model.push_to_hub("someone/something", private=True, token="t") == "hub/someone/something"
        assert calls["repo"] == ("someone/something", {"private": True, "exist_ok": True})
        same(model, FewShotClassifier.from_pretrained("someone/something"), blobs(4)[0])


def test_weights_hold_no_pickle(tmp_path: Path) -> None:
    folder = FewShotClassifier().fit(*blobs(2)).save_pretrained(tmp_path)
    assert "head/weights" in safetensors.torch.load_file(folder / "model.safetensors")
