"""Learners that read the support set: symmetries, closed forms and tiny cases by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.model.anp import ANP
from metacortex.learners.model.base import Role, SupportReader
from metacortex.learners.model.cnp import CNP
from metacortex.learners.model.set_transformer import SetTransformer, simplex
from metacortex.learners.model.snail import SNAIL
from metacortex.learners.objective import CrossEntropy, GaussianLikelihood, MeanSquaredError
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs, lines

REGRESSION, CLASSIFICATION = Role("regression", 1), Role("classification", 3)
OPTIONS = {
    CNP: {"width": 6, "layers": 1},
    ANP: {"width": 6, "layers": 1, "heads": 2},
    SNAIL: {"keys": (4, 5), "values": (3, 2), "filters": 3, "length": 5},
    SetTransformer: {"width": 8, "depth": 2, "heads": 2},
}


def make(cls: type, role: Role, features: int = 4, **options: object) -> SupportReader:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(nn.Identity(), features, role, **{**OPTIONS[cls], **options}).double()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classes(**sizes: int) -> Task:
    return blobs(seeded(), shape=(4,), **sizes)


def predict(learner: SupportReader, task: Task) -> Tensor:
    return learner.predict(learner.adapt(task.support), task.query.inputs)


def renamed(task: Task, names: Tensor) -> Task:
    return replace(task, support=replace(task.support, targets=names[task.support.targets]))


def test_the_representation_of_a_conditional_process_is_the_mean() -> None:
    learner, task = make(CNP, REGRESSION, 1), lines(seeded())
    pairs = torch.cat([task.support.inputs, task.support.targets], 1)
    mean = torch.stack([learner.encoder(pair) for pair in pairs]).mean(0)
    state = learner.adapt(task.support)
    torch.testing.assert_close(state["mean"][0], mean)
    raw = learner.decoder(torch.cat([task.query.inputs, mean.expand(4, -1)], 1))
    deviation = 0.1 + 0.9 * nn.functional.softplus(raw[:, 1])
    found = GaussianLikelihood.split(learner.predict(state, task.query.inputs))
    torch.testing.assert_close(found, (raw[:, :1], deviation[:, None]))


def test_the_representation_of_a_class_is_the_mean_of_its_examples() -> None:
    learner, task = make(CNP, CLASSIFICATION), classes()
    encoded = learner.encoder(task.support.inputs)
    means = torch.stack([encoded[task.support.targets == c].mean(0) for c in range(3)])
    logits = [
        torch.stack([learner.decoder(torch.cat([x, m, encoded.mean(0)]))[0] for m in means]) for x in task.query.inputs
    ]
    torch.testing.assert_close(predict(learner, task), torch.stack(logits))


def test_attentive_process_by_hand() -> None:
    """Each query's representation, head by head, with loops in place of matrix products."""
    learner, task = make(ANP, REGRESSION, 1), lines(seeded())
    attention, encoded = learner.attention, learner.encode(task.support.inputs, task.support)
    rows = []
    for x in task.query.inputs:
        heads = []
        for head in (slice(0, 3), slice(3, 6)):
            q = attention.query(x)[head]
            scores = torch.stack([q @ attention.key(k)[head] for k in task.support.inputs]) / 3**0.5
            values = torch.stack([attention.value(r)[head] for r in encoded])
            heads.append(scores.softmax(0) @ values)
        rows.append(attention.out(torch.cat(heads)))
    raw = learner.decoder(torch.cat([task.query.inputs, torch.stack(rows)], 1))
    torch.testing.assert_close(predict(learner, task)[:, :1], raw[:, :1])


@pytest.mark.parametrize("cls", [CNP, ANP])
@pytest.mark.parametrize("role", [REGRESSION, CLASSIFICATION], ids=lambda role: role.kind)
def test_processes_do_not_count_repetitions(cls: type, role: Role) -> None:
    """Every example twice is the same mean, and the same weighted mean."""
    task = lines(seeded(), shape=(4,)) if role.kind == "regression" else classes()
    s = task.support
    twice = replace(s, inputs=torch.cat([s.inputs, s.inputs]), targets=torch.cat([s.targets, s.targets]))
    learner = make(cls, role)
    torch.testing.assert_close(predict(learner, replace(task, support=twice)), predict(learner, task))


@pytest.mark.parametrize("cls", [CNP, ANP, SetTransformer])
def test_renaming_the_classes_renames_the_logits(cls: type) -> None:
    learner, task, names = make(cls, CLASSIFICATION), classes(), torch.tensor([2, 0, 1])
    torch.testing.assert_close(predict(learner, renamed(task, names))[:, names], predict(learner, task))


def test_label_vectors_are_not_renamed() -> None:
    """Negative control: fixed label vectors break the symmetry."""
    learner, task, names = make(SetTransformer, CLASSIFICATION, labels="simplex"), classes(), torch.tensor([2, 0, 1])
    assert not torch.allclose(predict(learner, renamed(task, names))[:, names], predict(learner, task), atol=1e-3)


def test_simplex() -> None:
    corners = simplex(5).double()
    cosines = torch.full((5, 5), -0.25, dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(corners @ corners.T, cosines, rtol=0, atol=1e-6)
    assert simplex(1).tolist() == [[1]]


def test_snail_answers_as_if_the_query_stood_at_the_end() -> None:
    """The cached activations give what the whole sequence gives at its last place."""
    learner, task = make(SNAIL, CLASSIFICATION), classes(shot=1)
    rows = torch.cat([task.support.inputs, torch.eye(3, dtype=torch.float64)], 1)
    for query, logits in zip(task.query.inputs, predict(learner, task), strict=True):
        x = torch.cat([rows, nn.functional.pad(query, (0, 3))[None]])
        for layer in learner.layers:
            x = layer.sequence(x, torch.ones(4, dtype=torch.bool))
        torch.testing.assert_close(learner.head(x[-1]), logits)


def test_snail_is_causal_and_reaches_as_far_as_it_says() -> None:
    learner = make(SNAIL, REGRESSION, 1, keys=(4, 4), values=(3, 3), length=5)
    convolutions = [layer for layer in learner.layers if hasattr(layer, "dilation")]
    assert [layer.dilation for layer in convolutions] == [1, 2, 4]
    x = torch.randn(9, convolutions[0].taps.in_features // 2, generator=seeded(), dtype=torch.float64)
    moved = x.clone()
    moved[3] += 1
    for layer in convolutions:
        real = torch.ones(9, dtype=torch.bool)
        x, moved = layer.sequence(x, real), layer.sequence(moved, real)
    changed = (x != moved).any(1)
    assert changed.tolist() == [False] * 3 + [True] * 6
    attention = learner.layers[0]
    first = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    other = torch.cat([first[:4], first[4:] + 1])
    real = torch.ones(6, dtype=torch.bool)
    assert torch.equal(attention.sequence(first, real)[:4], attention.sequence(other, real)[:4])


@pytest.mark.parametrize("cls", OPTIONS)
@pytest.mark.parametrize("role", [REGRESSION, CLASSIFICATION], ids=lambda role: role.kind)
def test_padding_in_the_middle_is_as_if_it_were_not_there(cls: type, role: Role) -> None:
    task = lines(seeded(), shape=(4,)) if role.kind == "regression" else classes()
    s, keep = task.support, torch.tensor([True, False, True, True, False, True][: len(task.support.targets)])
    learner = make(cls, role)
    masked = replace(task, support=replace(s, mask=keep))
    without = replace(task, support=replace(s, inputs=s.inputs[keep], targets=s.targets[keep]))
    torch.testing.assert_close(predict(learner, masked), predict(learner, without))


@pytest.mark.parametrize("cls", OPTIONS)
def test_order_matters_to_snail_alone(cls: type) -> None:
    task, learner = lines(seeded(), shape=(4,)), make(cls, REGRESSION)
    back = Examples(task.support.inputs.flip(0), task.support.targets.flip(0))
    same = torch.allclose(predict(learner, replace(task, support=back)), predict(learner, task), atol=1e-9)
    assert same == (cls is not SNAIL)


def test_snail_reads_classes_in_the_order_of_their_slots() -> None:
    learner, task = make(SNAIL, CLASSIFICATION), classes(shot=1)
    turned = Examples(task.support.inputs[[2, 0, 1]], task.support.targets[[2, 0, 1]], classes=task.support.classes)
    torch.testing.assert_close(predict(learner, replace(task, support=turned)), predict(learner, task))


@pytest.mark.parametrize("cls", OPTIONS)
@pytest.mark.parametrize("uncertainty", [True, False])
def test_deviations_are_predicted_where_asked_for(cls: type, uncertainty: bool) -> None:
    learner, task = make(cls, REGRESSION, 1, uncertainty=uncertainty, min_deviation=0.3), lines(seeded())
    prediction = predict(learner, task)
    assert prediction.shape == (4, 2 if uncertainty else 1)
    assert isinstance(learner.objective, GaussianLikelihood if uncertainty else MeanSquaredError)
    if uncertainty:
        assert float(GaussianLikelihood.split(prediction.detach())[1].min()) > 0.3
    assert isinstance(make(cls, CLASSIFICATION, uncertainty=uncertainty).objective, CrossEntropy)


@pytest.mark.parametrize("cls", OPTIONS)
@pytest.mark.parametrize("role", [REGRESSION, CLASSIFICATION], ids=lambda role: role.kind)
def test_a_few_steps_lower_the_loss_of_a_batch(cls: type, role: Role) -> None:
    tasks = [lines(seeded(i), shape=(4,)) if role.kind == "regression" else classes() for i in range(2)]
    learner, batch = make(cls, role).train(), stack_tasks(tasks)
    optimizer, losses = torch.optim.Adam(learner.parameters(), 0.01), []
    for _ in range(8):
        gradients, outcome = meta_gradient(learner, batch, strategy="vmap")
        losses.append(float(outcome.loss))
        for name, parameter in learner.named_parameters():
            parameter.grad = gradients[name]
        optimizer.step()
    assert losses[-1] < losses[0] - 0.01


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(LearnerError, match="at most 3 classes, the task has 5"):
        make(SNAIL, CLASSIFICATION).adapt(classes(way=5).support)
    with pytest.raises(LearnerError, match="at most 3 classes"):
        make(SetTransformer, CLASSIFICATION, labels="simplex").adapt(classes(way=5).support)
    with pytest.raises(SettingsError, match="one length for each block"):
        make(SNAIL, CLASSIFICATION, keys=(1, 2, 3))
    with pytest.raises(SettingsError, match="length must be at least 2"):
        make(SNAIL, CLASSIFICATION, length=1)
    with pytest.raises(SettingsError, match="'relation' or 'simplex'"):
        make(SetTransformer, CLASSIFICATION, labels="one-hot")
    with pytest.raises(SettingsError, match="multiple of heads"):
        make(ANP, CLASSIFICATION, heads=4)
    with pytest.raises(SettingsError, match="layers must be at least 1"):
        make(CNP, CLASSIFICATION, layers=0)
    with pytest.raises(SettingsError, match="between 0 and 1"):
        make(CNP, REGRESSION, min_deviation=0.0)
    with pytest.raises(SettingsError, match="does classification and regression"):
        make(CNP, Role("translation"))
    with pytest.raises(SettingsError, match="needs inner steps"):
        make(CNP, REGRESSION, norm="per-step")
