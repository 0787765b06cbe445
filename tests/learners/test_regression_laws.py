"""Learners of the model family keep the laws on regression tasks, with and without uncertainty."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

import pytest
from model_cases import MODEL_OPTIONS, SEQUENTIAL

from metacortex.learners.base import Learner
from metacortex.learners.registry import learner_settings, make_learner
from metacortex.testing import LAWS, lines

# The rest of the laws do not depend on what is predicted: test_laws.py has them.
TRIED = ("dtype", "independence", "masks", "meta_gradient", "order", "overfits", "shapes", "stacking", "strategies")
SURE = ("set_transformer", "meta_lstm_sequence")
"""Those that do not say how sure they are unless told, or not at all."""
CASES = [(name, name not in SURE) for name in MODEL_OPTIONS] + [("cnp", False)]
PAIRS = [(*case, law) for case in CASES for law in TRIED if not (law == "order" and case[0] in SEQUENTIAL)]


def build(name: str, uncertainty: bool) -> Learner:
    options = dict(MODEL_OPTIONS[name])
    if "uncertainty" in {field.name for field in fields(learner_settings(name))}:
        options["uncertainty"] = uncertainty
    body = {"backbone": "mlp", "backbone_options": {"hidden": (8,)}}
    return make_learner(name, input_shape=(1,), way=1, kind="regression", **body, **options)


@pytest.mark.parametrize(("name", "uncertainty", "law"), PAIRS)
def test_law(name: str, uncertainty: bool, law: str) -> None:
    LAWS[law](partial(build, name, uncertainty), lines)
