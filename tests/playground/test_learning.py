"""Answers and reasons, against what can be computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metacortex.errors import LearnerError
from metacortex.estimators.adapted import HeadAdapted, as_tensor
from metacortex.estimators.features import NetFeatures
from metacortex.estimators.source import default_source, load_source
from metacortex.learners.registry import make_learner
from metacortex.playground.alphabets import alphabets, draw_example, pick
from metacortex.playground.limits import Refused
from metacortex.playground.memory import Memo, RememberedFeatures
from metacortex.playground.pictures import as_drawing
from metacortex.playground.reasons import drawing_influences, flat_map, pixel_shares
from metacortex.playground.rival import train_rival
from metacortex.playground.steps import MOST_STEPS, steps_of
from metacortex.playground.teacher import Teacher

from .play_support import SYMBOLS, board_of, symbol


def drawn(name: str, hand: int = 77):
    return as_drawing(np.asarray(symbol(name, hand)))


def test_symbols_are_told_apart_from_one_drawing(teacher: Teacher) -> None:
    learned = teacher.learn(board_of(SYMBOLS, 1))
    replies = [learned.ask(drawn(name)) for name in SYMBOLS]
    assert [learned.concepts[r.slot].name for r in replies] == list(SYMBOLS)
    assert all(r.probabilities.sum() == pytest.approx(1) for r in replies)
    assert all(r.known for r in replies)
    # The same drawing again lies on itself.
    again = learned.ask(next(board_of(SYMBOLS[:1], 1).drawings))
    assert again.distances.argmin() == 0


def test_something_else_is_none_of_these(teacher: Teacher) -> None:
    learned = teacher.learn(board_of(("ring", "cross"), 3))
    reply = learned.ask(drawn("ladder"))
    assert not reply.known
    assert reply.novelty > learned.ask(drawn("ring")).novelty


def test_what_was_learned_is_remembered(teacher: Teacher) -> None:
    board = board_of()
    learned = teacher.learn(board)
    assert teacher.learn(board) is learned
    renamed = teacher.learn(board.renamed(board.concepts[0].id, "other"))
    assert renamed.concepts[0].name == "other"
    assert renamed.adapted is learned.adapted
    assert list(renamed.classifier.classes_) == ["other", "cross", "roof"]


def test_two_classes_are_needed(teacher: Teacher) -> None:
    with pytest.raises(Refused, match="two classes"):
        teacher.learn(board_of(("ring",), 2))


def test_remembered_features_are_the_features() -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    learner = default_source().learner
    expected = NetFeatures.learn(learner, inputs)
    memo: Memo = Memo(100)
    found = RememberedFeatures(learner, memo=memo).fitted(inputs)
    assert (found.unit, found.pixel_unit, found.colour_unit) == (
        expected.unit,
        expected.pixel_unit,
        expected.colour_unit,
    )
    np.testing.assert_allclose(found(inputs), expected(inputs))
    np.testing.assert_allclose(found.views(inputs, most=4), expected.views(inputs)[:4])
    assert len(memo) == 3 + 9
    np.testing.assert_allclose(found(inputs[::-1]), expected(inputs)[::-1])


def test_drawings_of_the_answer_speak_for_it(teacher: Teacher) -> None:
    for shots in (1, 3):
        learned = teacher.learn(board_of(SYMBOLS, shots))
        for slot, name in enumerate(SYMBOLS):
            reply = learned.ask(drawn(name))
            influence = drawing_influences(learned, reply)
            own = learned.targets == slot
            assert influence[own].sum() > 0
            assert influence[own].max() > influence[~own].max()
            if shots == 1:  # without its only drawing the answer is left to the lot
                expected = np.log(reply.probabilities[slot]) + np.log(len(SYMBOLS))
                assert influence[own][0] == pytest.approx(expected)


def test_pixels_add_up(teacher: Teacher) -> None:
    """Completeness: the shares sum to the difference to an empty picture, up to the steps of the integral."""
    learned = teacher.learn(board_of(SYMBOLS, 2))
    reply = learned.ask(drawn("roof"))
    shares = pixel_shares(learned, reply)
    x = as_tensor(reply.inputs)
    with torch.no_grad():
        scores = learned.module(torch.cat([x, torch.zeros_like(x)])).log_softmax(-1)[:, reply.slot]
    assert shares.shape == (28, 28)
    assert shares.sum() == pytest.approx(float(scores[0] - scores[1]), abs=0.15)
    assert np.abs(shares[reply.inputs[0, 0] == 0]).max() == 0


def test_map_keeps_neighbours(teacher: Teacher) -> None:
    learned = teacher.learn(board_of(("ring", "cross"), 3))
    reply = learned.ask(drawn("cross"))
    flat, place = flat_map(learned, reply)
    assert flat.shape == (6, 2)
    assert np.abs(flat).max() <= 1
    assert learned.targets[((flat - place) ** 2).sum(1).argmin()] == 1


def test_steps_end_with_the_answer(teacher: Teacher) -> None:
    board = board_of(SYMBOLS, 4)
    learned = teacher.learn(board)
    reply = learned.ask(drawn("cross"))
    kind, steps = steps_of(learned, reply, board.order)
    assert kind == "drawings"
    assert len(steps) == MOST_STEPS
    assert (steps[0].number, steps[-1].number) == (1, 16)
    assert steps[0].drawing == board.order[0]
    assert steps[0].probabilities.tolist() == [1, 0, 0, 0]
    np.testing.assert_array_equal(steps[-1].probabilities, reply.probabilities)
    assert all(s.probabilities.sum() == pytest.approx(1) for s in steps)


def test_a_learner_of_gradients_plays_too() -> None:
    """Its steps are those of its inner loop; its reasons come from leaving drawings out and adapting anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = {"channels": 4, "blocks": 2, "reduction": "stride"}
        learner = make_learner("maml", way=3, backbone="conv4", backbone_options=body, inner_lr=0.1, inner_steps=2)
    source = load_source(learner)
    teacher = Teacher(type(source)(**{**vars(source), "shape": (1, 28, 28)}))
    board = board_of()
    learned = teacher.learn(board)
    reply = learned.ask(drawn("roof"))
    kind, steps = steps_of(learned, reply, board.order)
    assert kind == "gradient steps"
    assert [s.number for s in steps] == [0, 1, 2]
    np.testing.assert_allclose(steps[-1].probabilities, reply.probabilities, atol=1e-5)
    assert drawing_influences(learned, reply).shape == (6,)
    assert pixel_shares(learned, reply).shape == (28, 28)
    with pytest.raises(LearnerError, match="3"):
        teacher.learn(board_of(SYMBOLS, 1))


def test_the_rival_learns_from_the_drawings_alone(teacher: Teacher) -> None:
    learned = teacher.learn(board_of(SYMBOLS, 2))
    rival = train_rival(learned)
    own = rival.predictor.probabilities(as_tensor(learned.inputs))
    assert own.argmax(-1).tolist() == learned.targets.tolist()
    shares = rival.probabilities(learned.ask(drawn("ring")))
    assert shares.shape == (4,)
    assert shares.sum() == pytest.approx(1)


def test_more_drawings_are_seen_in_fewer_views(teacher: Teacher) -> None:
    assert isinstance(teacher.learn(board_of(SYMBOLS, 15)).adapted, HeadAdapted)
    features = NetFeatures.learn(default_source().learner, np.zeros((60, 1, 28, 28), np.uint8))
    assert teacher.views(features, np.zeros((60, 1, 28, 28), np.uint8)).shape[:2] == (4, 60)


def test_alphabets() -> None:
    scripts = alphabets()
    assert {"Georgian", "Armenian", "Tifinagh"} <= {name for name, a in scripts.items() if a.new}
    letters = pick("Georgian", 5, np.random.default_rng(0))
    assert len({c.code for c in letters}) == 5
    one, other = (draw_example(letters[0].code, hand).image for hand in (0, 1))
    assert one.shape == (84, 84)
    assert one.min() < 60
    assert one.max() == 255
    assert (one != other).any()
    for wrong in (lambda: pick("Klingon", 5, np.random.default_rng(0)), lambda: draw_example(0x41, 0)):
        with pytest.raises(Refused) as refused:
            wrong()
        assert refused.value.status == 404
