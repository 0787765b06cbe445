"""Every learner of translation keeps every law, on a tiny encoder–decoder and made-up languages."""

from __future__ import annotations

from functools import partial

import pytest

from metacortex.learners.base import Learner
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.testing import LAWS, phrases

BODY = {"vocabulary": 8, "languages": 3, "embedding": 8, "hidden": 8, "dropout": 0.0}
CODE = {"code": 6, "rank": 2, "word_dropout": 0.0}
CASES = [
    ("meta_lstm", CODE),
    ("meta_lstm", {**CODE, "generate": "full", "layers": "recurrent", "reads": "description", "pooling": "attended"}),
    ("meta_lstm", {**CODE, "generate": "scaling", "layers": "decoder", "reads": "support"}),
    ("meta_lstm", {**CODE, "generate": "scaling", "reads": "description", "pooling": "words"}),
    ("contextual_parameters", {"language_size": 3}),
    ("multilingual", {}),
    ("multilingual", {"tags": False, "tune_steps": 2, "tune_lr": 0.01}),
    ("meta_mt", {"inner_lr": 0.01, "tags": True}),
    ("meta_mt", {"inner_lr": 0.1, "rule": "sgd"}),
]


def build(name: str, options: dict) -> Learner:
    return make_learner(name, kind="translation", backbone_options=BODY, smoothing=0.0, **options)


def label(case: tuple[str, dict]) -> str:
    return "-".join([case[0], *[f"{k}={v}" for k, v in case[1].items() if k not in CODE]])


# Variants differ in what the rest of the laws look at.
INDIFFERENT = {"copies", "device", "dtype", "evaluation", "overfits", "shapes", "state_dict"}
FIRST = {case[0]: i for i, case in reversed(list(enumerate(CASES)))}
PAIRS = [
    (case, law)
    for i, case in enumerate(CASES)
    for law in LAWS
    if not (law in INDIFFERENT and i != FIRST[case[0]])
    # First order is an approximation on purpose.
    and not ((case[0] == "meta_mt" or "tune_steps" in case[1]) and law == "meta_gradient")
]


@pytest.mark.parametrize(("case", "law"), PAIRS, ids=lambda value: value if isinstance(value, str) else label(value))
def test_law(case: tuple[str, dict], law: str) -> None:
    LAWS[law](partial(build, *case), partial(phrases, words=4, length=3, pairs=2, queries=2))


def test_every_learner_of_translation_is_held_to_the_laws() -> None:
    assert {case[0] for case in CASES} == {n for n in learner_names() if "translation" in learner_entry(n).kinds}
