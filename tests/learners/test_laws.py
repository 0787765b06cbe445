"""Every registered learner keeps every law, on every backbone and under every norm policy."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from gradient_cases import APPROXIMATE, GRADIENT_CASES, GRADIENT_OPTIONS
from model_cases import MODEL_CASES, MODEL_OPTIONS, SEQUENTIAL
from torch import nn

from metacortex.learners.base import Learner
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.learners.transfer.fine_tuning import FineTuning
from metacortex.testing import (
    LAWS,
    blobs,
    check_any_way,
    check_memory,
    check_module_untouched,
    check_shared_parameters,
)

BACKBONES = {"conv4": {"channels": 4, "blocks": 2}, "mlp": {"hidden": (8,)}, "lstm": {"hidden": 6}}
OPTIONS = {
    **GRADIENT_OPTIONS,
    **MODEL_OPTIONS,
    "maml": {"inner_lr": 0.1, "inner_steps": 2},
    "fine_tuning": {"tune_lr": 0.5, "tune_steps": 3},
    "from_scratch": {"tune_lr": 0.5, "tune_steps": 3},
    "baseline": {"tune_lr": 5.0, "tune_steps": 8},
    "baseline_pp": {"tune_lr": 0.5, "tune_steps": 3},
    "linear_probe": {"penalty": 0.01},
}
CASES = [
    *[("maml", "conv4", {"norm": norm}) for norm in ("query-batch", "support", "running", "per-step")],
    ("maml", "conv4", {"inner_steps": 3, "unroll": "steps"}),
    ("maml", "mlp", {}),
    ("maml", "mlp", {"adapt": "head"}),
    ("maml", "mlp", {"adapt": "body"}),
    ("maml", "mlp", {"order": 1}),
    *[("protonet", "conv4", {"norm": norm}) for norm in ("query-batch", "support")],
    ("protonet", "conv4", {}),
    ("protonet", "mlp", {"distance": "cosine"}),
    ("protonet", "mlp", {"learn_scale": True}),
    ("matching", "conv4", {}),
    ("matching", "mlp", {"fce": True}),
    ("relation", "mlp", {}),
    ("relation", "mlp", {"loss": "ce"}),
    ("r2d2", "conv4", {}),
    ("r2d2", "conv4", {"norm": "support"}),
    ("lr_d2", "mlp", {}),
    ("metaopt_net", "mlp", {}),
    ("fine_tuning", "conv4", {"norm": "support"}),
    ("fine_tuning", "conv4", {}),
    ("fine_tuning", "mlp", {"tune": "head"}),
    ("from_scratch", "mlp", {}),
    ("baseline", "mlp", {}),
    ("baseline_pp", "mlp", {}),
    ("linear_probe", "mlp", {}),
    ("knn", "mlp", {"neighbours": 2}),
    ("knn", "conv4", {"distance": "euclid"}),
    ("simple_shot", "conv4", {}),
    ("nearest_neighbour", "mlp", {}),
    *GRADIENT_CASES,
    *MODEL_CASES,
]


def build(name: str, backbone: str, options: dict) -> Learner:
    return make_learner(
        name,
        input_shape=(3, 6, 6),
        way=4,  # one more than the tasks have, so that a padding slot can be tried
        train_classes=5 if learner_entry(name).learner.trains_on == "batches" else 0,
        backbone=backbone,
        backbone_options=BACKBONES[backbone],
        **{**OPTIONS.get(name, {}), **options},
    )


def label(case: tuple[str, str, dict]) -> str:
    return "-".join([case[0], case[1], *[f"{k}={v}" for k, v in case[2].items()]])


# What no norm policy has a part in is tried under the default policy alone.
INDIFFERENT = {"copies", "device", "dtype", "overfits", "shapes"}
PAIRS = [
    (case, law)
    for case in CASES
    for law in LAWS
    if not ("norm" in case[2] and law in INDIFFERENT)
    # First order is an approximation on purpose, and so are some learners.
    and not (case[2].get("order") == 1 and law == "meta_gradient")
    and not ((case[0] in APPROXIMATE or "first_order_until" in case[2]) and law == "meta_gradient")
    # Full-context embeddings read the support set as a sequence, and so do some learners.
    and not ((case[2].get("fce") or case[0] in SEQUENTIAL) and law == "order")
]


@pytest.mark.parametrize(("case", "law"), PAIRS, ids=lambda value: value if isinstance(value, str) else label(value))
def test_law(case: tuple[str, str, dict], law: str) -> None:
    LAWS[law](partial(build, *case), blobs)


def test_every_registered_learner_is_held_to_the_laws() -> None:
    # Those of translation are tried on sentences: test_translation_laws.
    expected = {name for name in learner_names() if learner_entry(name).kinds != ("translation",)}
    assert {case[0] for case in CASES} == expected


def test_every_learner_is_a_file_of_its_own_with_its_equation_and_reference() -> None:
    classes = [learner_entry(name).learner for name in learner_names()]
    homes = [cls.__module__ for cls in classes]
    assert len(set(homes)) == len(homes)
    for cls in classes:
        text = inspect.getdoc(cls) or ""
        assert "Reference:" in text, cls.__name__
        assert any(sign in text for sign in "=∝←"), cls.__name__


METRIC = ["matching", "relation", "r2d2", "lr_d2", "metaopt_net"]
MODEL = ["cnp", "anp", "set_transformer"]
TRANSFER = ["baseline", "baseline_pp", "linear_probe", "knn", "simple_shot"]


@pytest.mark.parametrize(
    "name", ["protonet", "nearest_neighbour", "fine_tuning", "from_scratch", *METRIC, *TRANSFER, *MODEL]
)
def test_serves_any_way_and_shot(name: str) -> None:
    check_any_way(partial(build, name, "mlp", {}), lambda generator, way, shot: blobs(generator, way=way, shot=shot))


def test_a_head_serves_tasks_of_fewer_classes() -> None:
    check_any_way(
        partial(build, "maml", "mlp", {}),
        lambda generator, way, shot: blobs(generator, way=way, shot=shot),
        sizes=((2, 1), (3, 2), (4, 1)),
    )


@pytest.mark.parametrize("norm", ["support", "running", "per-step"])
def test_memory_of_maml_is_flat_in_steps(norm: str) -> None:
    check_memory(lambda steps: build("maml", "conv4", {"norm": norm, "eval_steps": steps}), blobs)


def test_memory_of_fine_tuning_is_flat_in_steps() -> None:
    check_memory(lambda steps: build("fine_tuning", "conv4", {"tune_steps": steps}), blobs)


WRAPS = {
    "maml": lambda module: MAML(module, 0.1, 2),
    "maml-steps": lambda module: MAML(module, 0.1, 2, unroll="steps"),
    "protonet": lambda module: ProtoNet(module),
    "fine_tuning": lambda module: FineTuning(module, 4, 5, tune_steps=2),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_tied_unused_and_frozen_parameters(wrap: str) -> None:
    check_shared_parameters(WRAPS[wrap], blobs, outputs=4)


def user_module() -> nn.Module:
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.ReLU(), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 4))


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_users_module_stays_as_it_is(wrap: str) -> None:
    check_module_untouched(WRAPS[wrap], user_module, blobs)
