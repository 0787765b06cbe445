"""The encoder–decoder: padding, tags, steps against whole sentences, attention, learning one pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.learners.transfer.multilingual import Multilingual
from metacortex.nn.norm import fused_kernels
from metacortex.nn.registry import make_backbone
from metacortex.nn.seq2seq import BOS, EOS, Seq2Seq, Seq2SeqSettings, Seq2SeqShape
from metacortex.testing import phrases

LENGTH = torch.tensor([4, 2, 3])


def net(**options: object) -> Seq2Seq:
    torch.manual_seed(0)
    settings = {"vocabulary": 10, "languages": 3, "embedding": 6, "hidden": 5, "dropout": 0.0, **options}
    tagged = bool(settings.pop("tagged", False))
    made = Seq2Seq(Seq2SeqSettings(**settings), tagged=tagged).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn_like(p)
    return made


def sentences(columns: int = 4) -> Tensor:
    return torch.randint(4, 10, (3, columns), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_steps_equal_the_whole_sentence(tied: bool, tagged: bool, layers: int) -> None:
    body = net(tied=tied, tagged=tagged, layers=layers)
    source, target, tag = sentences(), sentences(5), torch.tensor([0, 2, -1]) if tagged else None
    inputs = {"source": source, "source_length": LENGTH, "target": target}
    whole = body({**inputs, "tag": tag} if tag is not None else inputs)
    memory, carry = body.encode(source, LENGTH, tag)
    last = torch.full((3,), BOS)
    for t in range(5):
        logits, carry = body.step(last, memory, carry)
        torch.testing.assert_close(logits, whole[:, t], rtol=1e-12, atol=1e-14)
        last = target[:, t]


@pytest.mark.parametrize("fused", [True, False])
def test_padding_of_the_source_says_nothing(fused: bool) -> None:
    body = net(tagged=True)
    target, tag = sentences(5), torch.tensor([0, 1, 2])
    other = sentences().clone()
    other[1, 2:] = 0
    with fused_kernels(fused):
        first, attention = body.features(sentences(), LENGTH, target, tag)
        second, _ = body.features(torch.cat([other, other], 1), LENGTH, target, tag)
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)
    assert attention.shape == (3, 5, 4)
    assert not attention[1, :, 2:].any()


def test_attention_sums_to_one_and_an_empty_source_gives_numbers() -> None:
    body = net()
    features, attention = body.features(sentences(), torch.tensor([4, 0, 3]), sentences(5))
    torch.testing.assert_close(attention.sum(-1)[0], torch.ones(5, dtype=torch.float64))
    assert not attention[1].any()
    assert features.isfinite().all()


def test_a_tag_changes_the_output_and_no_tag_is_the_initial_one() -> None:
    body = net(tagged=True)
    assert body.tags is not None
    inputs = (sentences(), LENGTH, sentences(5))
    features = [body.features(*inputs, torch.full((3,), tag))[0] for tag in (0, 1, -1)]
    assert not torch.allclose(features[0], features[1])
    torch.testing.assert_close(body.features(*inputs)[0], features[2], rtol=0, atol=0)
    fresh = Seq2Seq(body.settings, tagged=True)
    assert fresh.tags is not None
    assert not fresh.tags.weight.any()


@pytest.mark.parametrize("tagged", [True, False])
def test_an_image_is_one_more_token(tagged: bool) -> None:
    body, image = net(tagged=tagged, image=2), torch.randn(3, 2, dtype=torch.float64)
    assert body.image is not None
    tag = torch.tensor([0, 2, -1]) if tagged else None
    inputs = (sentences(), LENGTH, sentences(5), tag)
    seen, attention = body.features(*inputs, image)
    assert attention.shape == (3, 5, 4)
    assert bool((attention.sum(-1) < 1).all())  # the rest of the attention is on the image
    memory, _ = body.encode(sentences(), LENGTH, tag, image)
    assert memory["mask"].sum(1).tolist() == (LENGTH + 1 + tagged).tolist()
    assert not torch.allclose(body.features(*inputs, image.flip(0))[0], seen)
    none = body.features(*inputs)[0]
    assert not torch.allclose(none, seen)
    blind = net(tagged=tagged, image=2)
    with torch.no_grad():
        blind.image.weight.zero_()  # type: ignore[union-attr]
        blind.image.bias.zero_()  # type: ignore[union-attr]
    torch.testing.assert_close(blind.features(*inputs, image)[0], none)


def test_some_images_are_not_seen_while_training() -> None:
    body, image = net(image=2, dropout=0.5), torch.ones(200, 2, dtype=torch.float64)
    x = torch.zeros(200, 3, 6, dtype=torch.float64)
    unseen = (body._image(x, image) == 0).all(-1).sum()
    assert 60 < int(unseen) < 140
    assert int((body.eval()._image(x, image) == 0).all(-1).sum()) == 0


def test_dropout_while_training_only() -> None:
    body = net(dropout=0.5)
    inputs = {"source": sentences(), "source_length": LENGTH, "target": sentences()}
    assert not torch.equal(body(inputs), body(inputs))
    assert torch.equal(body.eval()(inputs), body(inputs))


def test_the_backbone_is_a_shape_without_weights() -> None:
    backbone = make_backbone("seq2seq", (), vocabulary=20, hidden=7)
    assert isinstance(backbone, Seq2SeqShape)
    assert not list(backbone.parameters())
    assert backbone.features == 14
    assert backbone.build().embedding.weight.shape == (20, 256)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vocabulary": 4}, "vocabulary must be above 4"), ({"hidden": 0}, "at least 1"), ({"dropout": 1.0}, "dropout")],
)
def test_impossible_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Seq2SeqSettings(**options)


def test_tags_need_languages() -> None:
    with pytest.raises(SettingsError, match="set languages"):
        Seq2Seq(Seq2SeqSettings(languages=0), tagged=True)


def test_overfits_one_pair_and_translates_it_freely() -> None:
    torch.manual_seed(0)
    learner = Multilingual(Seq2Seq(Seq2SeqSettings(vocabulary=10, embedding=16, hidden=16, dropout=0.0)), smoothing=0.0)
    task = phrases(torch.Generator().manual_seed(1), queries=6)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    with fused_kernels():
        for _ in range(60):
            gradients, outcome = learner.task_gradient(task)
            for name, p in learner.named_parameters():
                p.grad = gradients[name]
            optimizer.step()
    assert float(outcome.loss) < 0.1
    assert float(outcome.metrics["token_accuracy"]) == 1.0
    source, length = task.query.inputs["source"], task.query.inputs["source_length"]
    state = learner.adapt(task.support, description=task.description)
    for beam in (1, 4):
        found = learner.translate(state, source, length, beam=beam, attention=True)
        width = task.query.targets.shape[1]
        assert torch.equal(found.tokens[:, 0, :width], task.query.targets)
        assert not found.tokens[:, 0, width:].any()
        assert found.attention is not None
        assert found.attention.shape == (6, 1, 18, 4)
    assert int((found.tokens == EOS).sum()) == 6
