"""Reasons against cases where they are known, against a random learner, and through the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError
from metacortex.explain.change import centred_alignment, layer_reuse, weight_changes
from metacortex.explain.explanation import explain
from metacortex.explain.faithful import check_faithfulness
from metacortex.explain.influence import influences, without
from metacortex.explain.page import explanation_page
from metacortex.explain.pixels import integrated_gradients, support_gradients
from metacortex.explain.scores import log_odds
from metacortex.learners.base import Learner, State
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.matching import MatchingNet
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.nn.classifier import Classifier
from metacortex.nn.mlp import MLP, MLPSettings
from metacortex.task import Examples, Task
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tree import tree_map

X = torch.tensor([[0.0, 0.0], [0.2, 0.0], [3.0, 0.0], [3.2, 0.0]])
Y = torch.tensor([0, 0, 1, 1])


def small(way: int = 2) -> Classifier:
    torch.manual_seed(0)
    return Classifier(MLP((2,), MLPSettings(hidden=(8,))), way)


def bent() -> nn.Module:
    """Without kinks, so that gradients of its gradients sum up."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))


def support() -> Examples:
    return Task.classification(X, Y, X, Y).support


def test_influence_of_prototypes_by_hand() -> None:
    """Leaving out (0, 0) moves the prototype of class 0 from 0.1 to 0.2, towards the query."""
    query = torch.tensor([[1.4, 0.0]])
    found = influences(ProtoNet(nn.Identity()), support(), query, torch.tensor([0]))[0]

    def log_p(prototype: float) -> float:
        return float(torch.tensor([-((1.4 - prototype) ** 2), -(1.7**2)]).log_softmax(0)[0])

    assert float(found[0]) == pytest.approx(log_p(0.1) - log_p(0.2), abs=1e-5)
    assert float(found[1]) == pytest.approx(log_p(0.1) - log_p(0.0), abs=1e-5)
    assert found[0] < 0 < found[1]


def test_an_example_alone_in_its_class() -> None:
    alone = Task.classification(X[1:3], torch.tensor([0, 1]), X, Y).support
    found = influences(ProtoNet(nn.Identity()), alone, X[:1], torch.tensor([0]))[0]
    log_p = float(torch.tensor([-0.04, -9.0]).log_softmax(0)[0])
    assert float(found[0]) == pytest.approx(log_p - np.log(0.5), abs=1e-5), "beside chance"
    assert float(found[1]) == pytest.approx(log_p, abs=1e-5), "without its rival the answer is certain"
    rest = without(alone, 1)
    assert rest.classes is not None
    assert rest.classes.tolist() == [True, False]


def test_padding_has_no_influence() -> None:
    padded = Examples(
        torch.cat([X, X[:1]]), torch.cat([Y, Y[:1]]), torch.tensor([True] * 4 + [False]), support().classes
    )
    learner = ProtoNet(nn.Identity())
    a = influences(learner, padded, X[:1], Y[:1])[0]
    assert a[4] == 0
    torch.testing.assert_close(a[:4], influences(learner, support(), X[:1], Y[:1])[0])


def test_pixels_sum_to_what_they_explain() -> None:
    learner = MAML(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), inner_lr=0.5)
    images = torch.rand(4, 1, 3, 3)
    state = learner.adapt(Task.classification(images, Y, images, Y).support)
    found = integrated_gradients(learner, state, images, Y, steps=64)
    with torch.no_grad():
        ends = [log_odds(learner.predict(state, x))[torch.arange(4), Y] for x in (images, torch.zeros(4, 1, 3, 3))]
    torch.testing.assert_close(found.sum((1, 2, 3)), ends[0] - ends[1], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "learner", [MAML(bent(), inner_lr=0.5, inner_steps=2), ProtoNet(nn.Linear(2, 3)), MatchingNet(nn.Linear(2, 3))]
)
def test_support_inputs_sum_to_what_adaptation_made_of_them(learner: Learner) -> None:
    """Through the inner loop: the answer of the adapted learner beside that of one adapted to zeros."""
    query = torch.tensor([[1.4, 0.3]])
    found = support_gradients(learner, support(), query, Y[:1], steps=64)
    assert found.shape == (1, 4, 2)
    with torch.no_grad():
        empty = replace(support(), inputs=torch.zeros_like(X))
        ends = [log_odds(learner.predict(learner.adapt(s), query))[0, 0] for s in (support(), empty)]
    torch.testing.assert_close(found.sum(), ends[0] - ends[1], atol=0.02, rtol=0.02)


def test_learners_that_pass_no_gradient_say_so() -> None:
    class Closed(ProtoNet):
        def adapt(self, support: Examples, **options: Any) -> State:
            return tree_map(torch.Tensor.detach, super().adapt(support, **options))

    images = torch.rand(4, 1, 3, 3)
    shown = Task.classification(images, Y, images, Y).support
    assert explain(Closed(nn.Flatten()), shown, images[:1])[0].support_pixels is None
    (found,) = explain(ProtoNet(nn.Flatten()), shown, images[:1])
    assert found.support_pixels is not None
    assert found.support_pixels.shape == (4, 1, 3, 3)


def test_prototypes_and_attention() -> None:
    query = torch.tensor([[1.4, 0.0]])
    (found,) = explain(ProtoNet(nn.Identity()), support(), query)
    assert found.distances is not None
    torch.testing.assert_close(found.distances, torch.tensor([1.3, 1.7]))
    assert found.attention is None
    (found,) = explain(MatchingNet(nn.Identity(), scale=3.0), support(), torch.tensor([[1.0, 1.0]]))
    cosines = torch.nn.functional.normalize(X + 0.0, dim=-1) @ torch.tensor([0.5, 0.5]).sqrt()
    assert found.attention is not None
    torch.testing.assert_close(found.attention, (3.0 * cosines).softmax(0))
    assert found.distances is None
    json.dumps(found.to_json(), allow_nan=False)


def test_log_odds() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    p = logits.softmax(-1)
    torch.testing.assert_close(log_odds(logits), (p / (1 - p)).log())


def test_what_adapting_changed() -> None:
    learner = MAML(small(), inner_lr=0.5, adapt="head")
    changes = weight_changes(learner, learner.adapt(support()))
    # Two balanced classes pull the bias both ways.
    assert [name for name, change in changes.items() if change > 0] == ["head.weight"]
    assert set(changes) == {name for name, _ in small().named_parameters()}
    assert weight_changes(ProtoNet(nn.Identity()), ProtoNet(nn.Identity()).adapt(support())) == {}
    layers = layer_reuse(learner, learner.adapt(support()), X)
    # The head is zero before: it gives the same for all inputs.
    assert layers == {"backbone.layers.0": pytest.approx(1)}, "what was not adapted gives the same"
    moved = MAML(bent(), inner_lr=2.0, inner_steps=3)
    layers = layer_reuse(moved, moved.adapt(support()), torch.randn(9, 2))
    assert list(layers) == ["0", "2"]
    assert all(0 < alike < 0.9999 for alike in layers.values())
    assert layer_reuse(ProtoNet(nn.Identity()), ProtoNet(nn.Identity()).adapt(support()), X) == {}
    torch.manual_seed(0)
    a, turn = torch.randn(40, 5), torch.linalg.qr(torch.randn(5, 5))[0]
    assert centred_alignment(a, 3 * a @ turn + 1) == pytest.approx(1)
    assert centred_alignment(a, torch.randn(40, 5)) < 0.5


@pytest.mark.parametrize("learner", [ProtoNet(nn.Linear(2, 2)), MAML(small(), inner_lr=0.5)])
def test_an_explanation_is_whole_and_changes_nothing(learner: nn.Module) -> None:
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    found = explain(learner, support(), X[:2])  # type: ignore[arg-type]
    assert all(v.equal(before[k]) for k, v in learner.state_dict().items())
    for explanation in found:
        assert explanation.influence.shape == (4,)
        assert explanation.pixels is None
        assert Y[explanation.counter_example] != explanation.answer
        assert explanation.runner_up == 1 - explanation.answer
        json.dumps(explanation.to_json(), allow_nan=False)
    one = Examples(X[:2], Y[:2], None, torch.tensor([True]))
    with pytest.raises(DataError, match="two classes"):
        explain(learner, one, X[:1])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def strokes() -> Episodes:
    """Classes are strokes at one of 12 places; noise lies everywhere."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (12, 20, 1, 12, 12))
    for place in range(12):
        shift = rng.integers(0, 2, 20)
        for i in range(20):
            images[place, i, 0, place, 2 + shift[i] : 10 + shift[i]] = rng.integers(150, 255, 8)
    flat = images.reshape(-1, 1, 12, 12).astype(np.uint8)
    store = ClassStore.from_arrays(flat, np.repeat(np.arange(12), 20), name="strokes")
    return Episodes(ClassView.of(store, range(12)), EpisodeSpec(3, 3, 4), seed=0, split="test")


def test_reasons_are_true_and_those_of_a_random_learner_are_not(strokes: Episodes) -> None:
    learner = ProtoNet(nn.Flatten())
    one, other = (random_learner(seed) for seed in (1, 2))
    found = check_faithfulness(learner, strokes, 40, untrained=one)
    assert found.tasks == 40
    assert found.pixels is not None
    assert found.examples.passes
    assert found.pixels.passes
    json.dumps(found.to_json(), allow_nan=False)
    strange = check_faithfulness(learner, strokes, 40, explained_by=other, untrained=one)
    assert strange.pixels is not None
    assert not strange.examples.passes
    assert not strange.pixels.passes
    assert not strange.passes
    same = check_faithfulness(learner, strokes, 4, explained_by=one, untrained=one)
    assert same.pixels is not None
    assert same.pixels.untrained is not None
    assert same.pixels.untrained.mean == 0


def random_learner(seed: int) -> ProtoNet:
    torch.manual_seed(seed)
    return ProtoNet(nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.Tanh(), nn.Linear(32, 8)))


def test_tasks_without_another_query_are_refused(strokes: Episodes) -> None:
    few = Episodes(strokes.view, EpisodeSpec(3, 3, 1), seed=0, split="test")
    with pytest.raises(DataError, match="2 queries per class"):
        check_faithfulness(ProtoNet(nn.Flatten()), few, 1)


def test_a_page_with_pictures(strokes: Episodes) -> None:
    task = strokes.task(0)
    found = explain(ProtoNet(nn.Flatten()), task.support, task.query.inputs[:2])
    names = [f"<b>{name}" for name in task.info["classes"]]
    examples = [f"example {i}" for i in range(9)]
    page = explanation_page("t", "l", found, task.support, task.query.inputs[:2], names, examples, ["a", "b"], [0, 0])
    text = page.to_html()
    assert text.count("data:image/png;base64,") == 2
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from metacortex.cli.main import main

    rng = np.random.default_rng(0)
    for level in range(25):
        (tmp_path / "greys" / f"{level:02}").mkdir(parents=True)
        for i in range(8):
            pixels = (10 * level + rng.integers(0, 6, (8, 8))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "greys" / f"{level:02}" / f"{i}.png")
    run, page = tmp_path / "run", tmp_path / "why.html"
    tiny = ["--size", "8", "--backbone", "mlp", "--set", "backbone.hidden=8", "--steps", "2", "--train-way", "5"]
    sizes = ["--queries", "3", "--shot", "2", "--set", "training.validation_tasks=2", "--quiet"]
    assert main(["train", "protonet", "--data", str(tmp_path / "greys"), *tiny, *sizes, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["explain", str(run), "--task", "1", "--out", str(page), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (len(said["queries"]), len(said["classes"]), len(said["examples"])) == (3, 5, 10)
    assert page.is_file()
    image = str(tmp_path / "greys" / "03" / "1.png")
    assert main(["explain", str(run), image, "--examples", str(tmp_path / "greys"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"][0]["query"] == image
    assert main(["explain", str(run), image]) == 2
    assert "--examples" in capsys.readouterr().err
