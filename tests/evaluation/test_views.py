"""Views: the first is the learner itself, the others are averaged; a moved drawing is recognised again."""

from __future__ import annotations

import pytest
import torch

from metacortex.errors import LearnerError, SettingsError
from metacortex.evaluation.views import ManyViews
from metacortex.learners.registry import make_learner
from metacortex.task import Task


def task() -> Task:
    """Two classes of bars, lying and standing; the queries are moved by two pixels."""
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 13:15, 6:22] = 1
    images[1, 0, 6:22, 13:15] = 1
    return Task.classification(images, torch.arange(2), images.roll((1, 1), (2, 3)), torch.arange(2))


def test_one_view_is_the_learner_itself() -> None:
    learner = make_learner("protonet", way=2).eval()
    alone = learner.loss(task()).prediction.log_softmax(-1)
    torch.testing.assert_close(ManyViews(learner, 1).eval().loss(task()).prediction, alone)


def test_views_are_averaged_by_probability() -> None:
    learner = make_learner("nearest_neighbour", way=2)
    views = ManyViews(learner, 4)
    t = task()
    state = views.adapt(t.support)
    found = views.predict(state, t.query.inputs).exp()
    parts = []
    for number in range(4):
        parts.append(learner.predict(state[str(number)], views.view(t.query.inputs, number, 1)).softmax(-1))
    torch.testing.assert_close(found, torch.stack(parts).mean(0))
    assert not parts[0].allclose(parts[1])
    assert views.bends.equal(ManyViews(learner, 4).bends)
    assert views.view(t.query.inputs, 0, 1) is t.query.inputs
    assert not views.view(t.query.inputs, 2, 0).equal(views.view(t.query.inputs, 2, 1))
    assert set(views.state_dict()) == {f"learner.{name}" for name in learner.state_dict()}


def test_what_has_no_views_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        ManyViews(make_learner("nearest_neighbour"), 0)
    x = torch.eye(2)
    with pytest.raises(LearnerError, match="evaluate without views"):
        ManyViews(make_learner("nearest_neighbour"), 2).loss(
            Task.classification(x, torch.arange(2), x, torch.arange(2))
        )
