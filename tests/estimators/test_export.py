"""Every file that is written was run and compared by the code under test; here it is seen that this is so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metacortex.errors import LearnerError, MissingExtraError, SettingsError
from metacortex.estimators import export
from metacortex.estimators.classifier import FewShotClassifier
from metacortex.estimators.export import AdaptedModule, EpisodeModule, export_module, export_program
from metacortex.estimators.heads import softmax
from metacortex.estimators.regressor import FewShotRegressor
from metacortex.estimators.write_out import WriteOut, gauss_jordan
from metacortex.learners.metric.r2d2 import R2D2
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.learners.repeat import repeated
from metacortex.task import Examples

from .estimator_support import blobs, drawings

onnxruntime = pytest.importorskip("onnxruntime")

CLASSIFIERS = [n for n in learner_names() if "classification" in learner_entry(n).kinds]
X, Y = blobs(3)
SUPPORT = Examples(
    torch.from_numpy(X).float(), torch.arange(3).repeat_interleave(3), classes=torch.ones(3, dtype=torch.bool)
)
X_ALL = torch.tensor([[1.0, -3.0], [2.0, 5.0]])
QUERY = torch.from_numpy(blobs(2, seed=5)[0]).float()


def learner(name: str, **options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_learner(
            name, input_shape=(4,), way=3, train_classes=4, backbone="mlp", backbone_options={"hidden": [8]}, **options
        ).eval()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_every_learner_adapted_to(name: str) -> None:
    """As a graph for any number of inputs."""
    model = learner(name)
    with torch.no_grad():
        predictor = model.bind(model.adapt(SUPPORT))
    program = export_program(AdaptedModule(predictor).eval(), [QUERY], [True])
    for inputs in (QUERY, QUERY[:3], torch.cat([QUERY, QUERY])):
        torch.testing.assert_close(program.module()(inputs), predictor(inputs), atol=1e-5, rtol=1e-4)


SNAIL = {"keys": (4, 4), "values": (4, 4), "filters": 4, "length": 4}


@pytest.mark.parametrize(
    ("name", "options"), [("protonet", {}), ("r2d2", {}), ("lr_d2", {}), ("metaopt_net", {}), ("snail", SNAIL)]
)
def test_learning_itself_as_one_graph(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Exported once, it learns other examples at run time."""
    model = learner(name, **options)
    module = EpisodeModule(model, 3).eval()
    path = export_module(
        module, [SUPPORT.inputs, SUPPORT.targets, QUERY], [False, False, True], tmp_path / "learner.onnx"
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    support = SUPPORT.inputs.flip(0) * 1.5
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 0, 1, 2])
    with torch.no_grad():
        expected = model.predict(model.adapt(Examples(support, labels, classes=SUPPORT.classes)), QUERY[:4])
    names = [place.name for place in session.get_inputs()]
    values = [support.numpy(), labels.numpy(), QUERY[:4].numpy()]
    came = session.run(None, dict(zip(names, values, strict=True)))[0]
    np.testing.assert_allclose(came, expected.numpy(), atol=1e-3, rtol=1e-3)


class TestEstimators:
    def test_table(self, tmp_path: Path) -> None:
        model = FewShotClassifier().fit(X, Y)
        path = model.export(tmp_path / "table.pt2", X)
        inputs = model.prepare(QUERY.double().numpy())
        logits = torch.export.load(path).module()(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(softmax(logits), model.predict_proba(QUERY.double().numpy()), atol=1e-4)

    @pytest.mark.usefixtures("network")
    def test_images(self, tmp_path: Path) -> None:
        images, names = drawings(2)
        model = FewShotClassifier().fit(images, names)
        path = model.export(tmp_path / "images.onnx", images)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        more, _ = drawings(3, seed=1)
        logits = session.run(None, {session.get_inputs()[0].name: model.prepare(more)})[0]
        np.testing.assert_allclose(softmax(logits), model.predict_proba(more), atol=1e-3)

    def test_regressor(self, tmp_path: Path) -> None:
        x = np.linspace(-1, 1, 8)[:, None]
        model = FewShotRegressor().fit(x, 100 + x[:, 0] ** 2)
        loaded = torch.export.load(model.export(tmp_path / "r.pt2", x)).module()
        np.testing.assert_allclose(loaded(torch.from_numpy(model.prepare(x)))[:, 0], model.predict(x), atol=1e-3)

    def test_episode(self, tmp_path: Path) -> None:
        model = FewShotClassifier(learner("protonet")).fit(X, Y)
        loaded = torch.export.load(model.export(tmp_path / "e.pt2", QUERY.numpy(), episode=True)).module()
        logits = loaded(SUPPORT.inputs, SUPPORT.targets, QUERY).detach().numpy() / model.adapted_.temperature
        np.testing.assert_allclose(softmax(logits), model.predict_proba(QUERY.numpy()), atol=1e-4)

    def test_episode_of_a_regression(self, tmp_path: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            ridge = R2D2(torch.nn.Linear(4, 8), objective=MeanSquaredError())
        model = FewShotRegressor(ridge).fit(X, X[:, :2].sum(1))
        loaded = torch.export.load(model.export(tmp_path / "e.pt2", QUERY.numpy(), episode=True)).module()
        values = torch.from_numpy(X[:, :2].sum(1, keepdims=True)).float()
        came = loaded(SUPPORT.inputs, values, QUERY).detach().numpy()
        np.testing.assert_allclose(came[:, 0], model.predict(QUERY.numpy()), atol=1e-4)

    def test_episode_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="with a model"):
            FewShotClassifier().fit(X, Y).export(tmp_path / "x.onnx", X, episode=True)


def test_linear_systems_are_solved() -> None:
    rng = torch.Generator().manual_seed(0)
    half = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
    matrix = half @ half.mT + 0.1 * torch.eye(6, dtype=torch.float64)
    right = torch.randn(2, 6, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(gauss_jordan(matrix, right), torch.linalg.solve(matrix, right))


class TestWriteOut:
    """While a graph is traced, and here while none is."""

    @pytest.mark.parametrize("descending", [False, True])
    def test_order_of_equals_is_kept(self, descending: bool) -> None:
        keys = torch.tensor([2, 0, 1, 1, 0, 2, 0, 1, 2])
        with WriteOut():
            found = torch.argsort(keys, stable=True, descending=descending)
        assert found.equal(torch.argsort(keys, stable=True, descending=descending))

    def test_what_could_lose_its_order_is_refused(self) -> None:
        with WriteOut(), pytest.raises(LearnerError, match="of integers where order is kept"):
            torch.argsort(torch.rand(3), stable=True)

    def test_least_and_largest_of_all(self) -> None:
        with WriteOut():
            assert (float(X_ALL.amin()), float(X_ALL.amax())) == (-3, 5)
            assert X_ALL.amax(1, keepdim=True).tolist() == [[1], [5]]

    def test_loops_are_one_node(self) -> None:
        """However many steps; outside, a loop of steps."""

        class Doubling(torch.nn.Module):
            def __init__(self, steps: int) -> None:
                super().__init__()
                self.steps = steps

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return repeated(lambda x, by: (x * by,), (x,), (torch.full_like(x, 2),), self.steps)[0]

        three, ten = (export_program(Doubling(n), [X_ALL], [False]) for n in (3, 10))
        assert len(three.graph.nodes) == len(ten.graph.nodes)
        assert three.module()(X_ALL).equal(8 * X_ALL)
        assert ten.module()(X_ALL).equal(Doubling(10)(X_ALL))
        assert len(torch.export.export(Doubling(10), (X_ALL,)).graph.nodes) > len(ten.graph.nodes)


class TestRefusals:
    def test_other_endings(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"\.pt2 or \.onnx"):
            FewShotClassifier().fit(X, Y).export(tmp_path / "x.h5", X)

    def test_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtraError, match=r"metacortex\[onnx\]"):
            FewShotClassifier().fit(X, Y).export(tmp_path / "x.onnx", X)

    def test_wrong_answers_are_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: a file that gives other answers than PyTorch."""
        monkeypatch.setattr(export, "_write_program", lambda program, path: lambda x: program.module()(x).numpy() + 1)
        with pytest.raises(LearnerError, match="gives other answers"):
            FewShotClassifier().fit(X, Y).export(tmp_path / "x.pt2", X)

    def test_what_cannot_be_traced_says_so(self) -> None:
        class Branching(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + 1 if float(x.sum()) > 0 else x - 1

        with pytest.raises(LearnerError, match="cannot be exported as one graph"):
            export_program(Branching(), [QUERY], [True])
