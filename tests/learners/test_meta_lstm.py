"""MetaLSTM: generated weights start as the shared ones, follow description and pairs, and run alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metacortex.engine.gradient import evaluate_tasks, meta_gradient
from metacortex.errors import DataError, LearnerError, SettingsError
from metacortex.learners.base import Learner
from metacortex.learners.model.generation import WeightGenerator
from metacortex.learners.registry import make_learner
from metacortex.nn.seq2seq import Seq2Seq
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import phrases

BODY = {"vocabulary": 16, "languages": 4, "embedding": 16, "hidden": 16, "dropout": 0.0}


def learner(name: str = "meta_lstm", **options: Any) -> Any:
    torch.manual_seed(0)
    if name == "meta_lstm":
        options = {"word_dropout": 0.0, "layers": "all"} | options
    made = make_learner(name, kind="translation", backbone_options=BODY, smoothing=0.0, **options)
    assert made.autograd_gradient
    return made


def noisy(made: Learner) -> Any:
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn_like(p)
    return made


def task(seed: int = 0) -> Task:
    return phrases(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layers", ["all", "recurrent", "encoder", "decoder"])
@pytest.mark.parametrize("generate", ["full", "low_rank", "scaling"])
def test_the_generated_network_starts_as_the_shared_one(generate: str, layers: str) -> None:
    made, body = learner(generate=generate, layers=layers), dict(learner().body.named_parameters())
    torch.testing.assert_close(made.adapt(task().support, description=task().description)["weights"], body)
    sides = {side for side, g in made.generators.items() if g.shapes}
    assert sides == {"all": {"encoder", "decoder"}, "recurrent": {"encoder", "decoder"}}.get(layers, {layers})
    written = {name for g in made.generators.values() for name in g.shapes}
    assert "embedding.weight" not in written
    assert ("output_bias" in written) == (layers in ("all", "decoder"))
    changed = {n for n, size in noisy(made).changes(task().support, task().description).items() if size.item() > 0}
    assert changed == written


@pytest.mark.parametrize("generate", ["full", "low_rank", "scaling"])
def test_generated_weights_by_hand(generate: str) -> None:
    torch.manual_seed(0)
    made = WeightGenerator({"m": (3, 2), "v": (3,)}, 4, generate, rank=2)
    with torch.no_grad():
        made.linear.weight.normal_()
        made.linear.bias.normal_()
    shared, code = {"m": torch.randn(3, 2), "v": torch.randn(3)}, torch.randn(4)
    raw = made.linear.weight @ code + made.linear.bias
    if generate == "full":
        expected = shared["m"] + raw[:6].view(3, 2)
    else:
        expected = shared["m"] * (1 + raw[:3, None])
        if generate == "low_rank":
            expected = expected + raw[3:9].view(3, 2) @ raw[9:13].view(2, 2).T
    written = made(shared, code)
    torch.testing.assert_close(written["m"], expected)
    torch.testing.assert_close(written["v"], shared["v"] + raw[-3:])
    sizes = made.change(shared, code)
    torch.testing.assert_close(sizes["m"], (expected - shared["m"]).norm() / shared["m"].norm())


@pytest.mark.parametrize("generate", ["full", "low_rank", "scaling"])
def test_generated_weights_move_at_the_pace_of_others(generate: str) -> None:
    """One step of Adam moves a generated weight about as far as a weight of its own; unbalanced, much further."""
    paces = {}
    for balanced in (True, False):
        torch.manual_seed(0)
        made = WeightGenerator({"m": (256, 64), "v": (256,)}, 64, generate, balanced=balanced)
        shared = {"m": torch.empty(256, 64).uniform_(-(64**-0.5), 64**-0.5), "v": torch.zeros(256)}
        code, wanted = torch.empty(64).uniform_(-1, 1), {n: torch.randn_like(w) for n, w in shared.items()}
        optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
        sum((w * wanted[n]).sum() for n, w in made(shared, code).items()).backward()  # type: ignore[union-attr]
        optimizer.step()
        paces[balanced] = {
            n: float((w - shared[n]).detach().square().mean().sqrt()) / 1e-3 for n, w in made(shared, code).items()
        }
    assert all(0.5 < pace < 2 for pace in paces[True].values())
    assert paces[False]["v"] > 20


def test_codes_differ_from_task_to_task_from_the_start() -> None:
    made = learner(code=64).eval()
    codes = torch.stack([made.codes(task(i).support, task(i).description)["decoder"] for i in range(8)])
    assert codes.std(0).mean() > 0.5 * codes.abs().mean()


def test_a_rank_one_change_has_rank_one() -> None:
    made = noisy(learner(rank=1))
    codes = made.codes(task().support, task().description)
    name = "encoder.weight_hh_l0"
    shared = dict(made.body.named_parameters())
    scale = made.generators["encoder"].written(codes["encoder"])[name]["scale"][:, 0]
    rest = made.generated(codes)["weights"][name] - shared[name] * (1 + scale[:, None])
    assert int(torch.linalg.matrix_rank(rest.detach().double(), rtol=1e-4)) == 1


def test_what_the_codes_depend_on() -> None:
    """Words and pairs do, tags do not, nor does padding; an empty description is nothing."""
    made, t = noisy(learner()), task()

    def codes(support: Examples = t.support, **change: Any) -> Tensor:
        return made.codes(support, {**t.description, **change})["encoder"]

    base = codes()
    assert not torch.allclose(codes(tokens=torch.tensor([15, 14, 0])), base)
    assert not torch.allclose(codes(task(1).support), base)
    assert torch.equal(codes(source_language=torch.tensor(3), target_language=torch.tensor(-1)), base)
    torch.testing.assert_close(codes(tokens=torch.cat([t.description["tokens"], torch.tensor([7, 7])])), base)
    empty = codes(length=torch.tensor(0))
    torch.testing.assert_close(empty, codes(tokens=torch.tensor([15, 14, 0]), length=torch.tensor(0)))
    torch.testing.assert_close(made.codes(t.support, None)["encoder"], empty)
    nobody = replace(t.support, inputs={k: x[:0] for k, x in t.support.inputs.items()}, targets=t.support.targets[:0])
    masked = replace(t.support, mask=torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(codes(nobody), codes(masked))


def test_one_state_for_each_name() -> None:
    made, t = noisy(learner(pooling="names", reads="description")), task()
    at = {"source_position": torch.tensor(0), "target_position": torch.tensor(1)}
    before = made.codes(t.support, {**t.description, **at})
    other = made.codes(
        t.support, {**t.description, **at, "tokens": torch.tensor([int(t.description["tokens"][0]), 15, 0])}
    )
    assert torch.equal(before["encoder"], other["encoder"])  # the state at the first name has not seen the second
    assert not torch.allclose(before["decoder"], other["decoder"])
    with pytest.raises(LearnerError, match="source_position"):
        made.codes(t.support, t.description)


def test_what_is_said_of_words_comes_from_the_words_alone() -> None:
    """The attention of ``words`` sees the whole sentence, what it picks is a mean of embeddings."""
    made, t = noisy(learner(pooling="words", reads="description")), task()
    reader, tokens = made.reader, t.description["tokens"][:2]
    states = reader.description(reader.embedding(tokens[None]))[0][0].unflatten(-1, (2, 64)).sum(1)
    weights = (states @ reader.queries.T).softmax(0)
    for side, column in zip(("encoder", "decoder"), weights.T, strict=True):
        picked = column @ reader.embedding(tokens)
        picked = (picked - picked.mean()) / picked.std(correction=0)
        seen = torch.cat([picked, torch.zeros(64), torch.tensor([1.0, 0.0])])
        torch.testing.assert_close(made.codes(t.support, t.description)[side], torch.tanh(reader.code(seen)))


def test_word_dropout_while_training_only() -> None:
    made, t = noisy(learner(word_dropout=0.5, reads="description")), task()
    codes = [
        torch.stack([made.train(mode).codes(t.support, t.description)["encoder"] for _ in range(20)])
        for mode in (True, False)
    ]
    assert not torch.allclose(codes[0], codes[0][:1].expand(20, -1))
    assert torch.equal(codes[1], codes[1][:1].expand(20, -1))
    with pytest.raises(SettingsError, match="word_dropout"):
        learner(word_dropout=1.0)


@pytest.mark.parametrize("pooling", ["attended", "words"])
def test_each_side_is_read_without_the_name_of_the_other(pooling: str) -> None:
    t = task()
    at = {"source_start": 0, "source_position": 0, "target_start": 1, "target_position": 1}
    where = {name: torch.tensor(number) for name, number in at.items()}

    def codes(apart: bool, tokens: list[int]) -> dict[str, Tensor]:
        made = noisy(learner(pooling=pooling, reads="description", apart=apart))
        return made.codes(t.support, {**t.description, **where, "tokens": torch.tensor(tokens)})

    one, source, target = (codes(True, tokens) for tokens in ([14, 15, 0], [12, 15, 0], [14, 12, 0]))
    torch.testing.assert_close(one["decoder"], source["decoder"])
    torch.testing.assert_close(one["encoder"], target["encoder"])
    assert not torch.allclose(one["encoder"], source["encoder"])
    assert not torch.allclose(one["decoder"], target["decoder"])
    assert not torch.allclose(codes(False, [14, 15, 0])["encoder"], codes(False, [14, 12, 0])["encoder"])


def test_the_generated_network_runs_alone() -> None:
    made, t = noisy(learner()).eval(), task()
    state = made.adapt(t.support, description=t.description)
    source, length = t.query.inputs["source"], t.query.inputs["source_length"]
    alone = Seq2Seq(made.body.settings)
    alone.load_state_dict(state["weights"])
    inputs = {**t.query.inputs, "target": t.query.targets}
    torch.testing.assert_close(alone.eval()(inputs), made.predict(state, inputs), rtol=1e-5, atol=1e-6)
    fresh = learner().eval()
    found = [m.translate(state, source, length, beam=3, best=2).tokens for m in (made, fresh)]
    assert torch.equal(*found)
    assert not made.keeps()
    scored = made.objective.loss(made.predict(state, inputs), t.query)
    torch.testing.assert_close(scored, made.loss(t).loss)
    metrics = made.objective.metrics(made.predict(state, inputs), t.query)
    torch.testing.assert_close(metrics, made.loss(t).metrics)


@pytest.mark.parametrize("name", ["meta_lstm", "contextual_parameters", "multilingual", "meta_mt"])
def test_images_are_read_where_given(name: str) -> None:
    torch.manual_seed(0)
    made = make_learner(name, kind="translation", backbone_options={**BODY, "image": 2}, smoothing=0.0).eval()
    t, image = task(), torch.randn(3, 2)
    seen = replace(t, query=replace(t.query, inputs={**t.query.inputs, "image": image}))
    gradients, outcome = meta_gradient(made, stack_tasks([seen]))
    assert gradients["body.image.weight"].norm() > 0
    assert not torch.equal(outcome.loss, meta_gradient(made, stack_tasks([t]))[1].loss)
    state = made.adapt(t.support, description=t.description)
    assert "image.weight" not in {n for g in getattr(made, "generators", {}).values() for n in g.shapes}
    sentences = (t.query.inputs["source"], t.query.inputs["source_length"])
    scores = [made.translate(state, *sentences, image=x).scores for x in (None, image, 3 * image)]
    assert not torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[1], scores[2])
    blind = learner(name).eval()
    state = blind.adapt(t.support, description=t.description)
    torch.testing.assert_close(blind.predict(state, seen.query.inputs), blind.predict(state, t.query.inputs))


def test_what_cannot_be_translated_is_refused() -> None:
    made, t = learner(), task()
    state, length = made.adapt(t.support, description=t.description), torch.tensor([2])
    with pytest.raises(DataError, match=r"0\.\.15, got 3\.\.16"):
        made.translate(state, torch.tensor([[3, 16]]), length)
    with pytest.raises(DataError, match=r"shapes \(2,\)"):
        made.translate(state, torch.tensor([3, 6]), length)
    with pytest.raises(DataError, match=r"0\.\.1, got \[2\]"):
        made.translate(state, torch.tensor([[3]]), length)
    with pytest.raises(SettingsError, match="best=2 and beam=1"):
        made.translate(state, torch.tensor([[3, 4]]), length, best=2)
    nothing = made.translate(state, torch.zeros(1, 2, dtype=torch.int64), torch.tensor([0]), beam=2)
    assert nothing.scores.isfinite().all()
    with pytest.raises(SettingsError, match="generate must be one of"):
        learner(generate="some")
    with pytest.raises(SettingsError, match="backbone 'seq2seq'"):
        make_learner("meta_lstm", kind="translation", backbone="mlp")
    with pytest.raises(SettingsError, match="does not do classification"):
        make_learner("meta_lstm")
    with pytest.raises(LearnerError, match="language tags"):
        learner("contextual_parameters").adapt(t.support)
    with pytest.raises(LearnerError, match="target_language"):
        learner("multilingual").adapt(t.support)


def languages(name: int, seed: int, *, told: int | None = None, queries: int = 16) -> Task:
    """Language ``name`` of four, each another exchange of eight words, described by one word of its own."""
    exchange = torch.randperm(8, generator=torch.Generator().manual_seed(100 + name)) + 4
    g = torch.Generator().manual_seed(seed)
    source = torch.randint(0, 8, (queries, 3), generator=g)
    ends = torch.full((queries, 1), 2)
    inputs = {"source": source + 4, "source_length": torch.full((queries,), 3)}
    word = 12 + (name if told is None else told)
    description = {"tokens": torch.tensor([word, 2]), "length": torch.tensor(2)}
    tags = {"source_language": torch.tensor(0), "target_language": torch.tensor(name)}
    pairs = Examples(inputs, torch.cat([exchange[source], ends], 1))
    nobody = Examples({k: x[:0] for k, x in inputs.items()}, pairs.targets[:0])
    return Task(nobody, pairs, {**description, **tags})


def trained(made: Learner, steps: int) -> Learner:
    optimizer = torch.optim.Adam(made.parameters(), lr=0.015)
    for step in range(steps):
        batch = stack_tasks([languages(name, 4 * step + name) for name in range(4)])
        gradients, _ = meta_gradient(made.train(), batch)
        for name, p in made.named_parameters():
            p.grad = gradients[name]
        optimizer.step()
    return made


def scores(made: Learner, told: list[int]) -> float:
    tasks = [languages(name, 10_000 + name, told=told[name]) for name in range(4)]
    return float(evaluate_tasks(made, stack_tasks(tasks)).metrics["token_accuracy"].mean())


def test_it_heeds_its_description() -> None:
    """Four languages, told apart by one word: with another's word the translation is into that other language."""
    made = trained(learner(code=16, rank=2, reads="description"), 90)
    right, wrong = scores(made, [0, 1, 2, 3]), scores(made, [1, 2, 3, 0])
    assert right > 0.9
    assert wrong < 0.5
