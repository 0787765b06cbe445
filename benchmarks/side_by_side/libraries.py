"""Other libraries, where they are installed (see benchmarks/requirements.txt)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from benchmarks.side_by_side.case import Batch, Case, Contender, Gradients, Step, Unable

__all__ = ["LIBRARIES", "without_init"]


def load(name: str) -> Any:
    """Import a module; why it cannot be is said by `Unable`."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # an old library may fail in any way
        raise Unable(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def without_init(package: str) -> None:
    """Let modules of a package be imported whose own ``__init__`` needs what is not wanted (gym, torchvision)."""
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unable(f"{package} is not installed")
    module = ModuleType(package)
    module.__path__ = [str(Path(p)) for p in spec.submodule_search_locations]
    module.__spec__ = spec
    sys.modules[package] = module


def _mean(model: nn.Module, tasks: int) -> Gradients:
    if all(p.grad is None for p in model.parameters()):
        raise Unable("it leaves no gradient in the network")
    found = {n: p.grad / tasks for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def _learn2learn(case: Case, model: nn.Module, batch: Batch) -> Step:
    without_init("learn2learn")
    if case.learner == "r2d2":
        raise Unable("it has no ridge regression")
    if case.learner == "protonet":
        return _learn2learn_protonet(case, model, batch)
    without_init("learn2learn.algorithms")
    maml_class = load("learn2learn.algorithms.maml").MAML
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    wrapped = maml_class(model.head if case.learner == "anil" else model, lr=case.inner_lr, first_order=case.order == 1)

    def step() -> Gradients:
        for i in range(len(batch)):
            support, targets, query, query_targets = batch.task(i)
            if case.learner == "anil":
                support, query = model.backbone(support), model.backbone(query)  # type: ignore[operator]
            learner = wrapped.clone()
            for _ in range(case.steps):
                learner.adapt(case.loss(learner(support), targets))
            case.loss(learner(query), query_targets).backward()
        return _mean(model, len(batch))

    return step


def _learn2learn_protonet(case: Case, model: nn.Module, batch: Batch) -> Step:
    without_init("learn2learn.nn")
    classifier = load("learn2learn.nn.protonet").PrototypicalClassifier()

    def step() -> Gradients:
        for i in range(len(batch)):
            support, targets, query, query_targets = batch.task(i)
            features = model.backbone(torch.cat([support, query]))  # type: ignore[operator]
            classifier.fit_(features[: len(support)], targets)
            case.loss(classifier(features[len(support) :]), query_targets).backward()
        return _mean(model, len(batch))

    return step


def _higher(case: Case, model: nn.Module, batch: Batch) -> Step:
    higher = load("higher")
    if case.learner != "maml":
        raise Unable("no idiom of its own for this learner")
    if case.order == 1:
        raise Unable("track_higher_grads=False leaves no outer gradient")
    inner = torch.optim.SGD(model.parameters(), lr=case.inner_lr)

    def step() -> Gradients:
        for i in range(len(batch)):
            support, targets, query, query_targets = batch.task(i)
            with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (fast, optimizer):
                for _ in range(case.steps):
                    optimizer.step(case.loss(fast(support), targets))
                case.loss(fast(query), query_targets).backward()
        return _mean(model, len(batch))

    return step


def _torchopt(case: Case, model: nn.Module, batch: Batch) -> Step:
    torchopt = load("torchopt")
    if case.learner != "maml":
        raise Unable("no idiom of its own for this learner")
    if case.order == 1:
        raise Unable("its differentiable optimizers have no first-order switch")
    inner = torchopt.MetaSGD(model, lr=case.inner_lr)

    def step() -> Gradients:
        start = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
        rule = torchopt.extract_state_dict(inner, by="reference")
        parameters = dict(model.named_parameters())
        for i in range(len(batch)):
            support, targets, query, query_targets = batch.task(i)
            for _ in range(case.steps):
                inner.step(case.loss(model(support), targets))
            loss = case.loss(model(query), query_targets)
            loss.backward()
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(inner, rule)
        found = {n: p.grad / len(batch) for n, p in parameters.items() if p.grad is not None}
        for p in parameters.values():
            p.grad = None
        return found

    return step


def _easyfsl(case: Case, model: nn.Module, batch: Batch) -> Step:
    if case.learner != "protonet":
        raise Unable("of the learners here it has ProtoNet only")
    load("easyfsl.methods.prototypical_networks")
    raise Unable("its ProtoNet scores by distances that are not squared: another loss, no gradient to compare")


LIBRARIES = (
    Contender("learn2learn", False, "0.2.0, MAML.clone and adapt, backward after each task", _learn2learn),
    Contender("higher", False, "innerloop_ctx, copy_initial_weights=False, backward after each task", _higher),
    Contender("torchopt", False, "MetaSGD, states by reference, backward after each task", _torchopt),
    Contender("easyfsl", False, "PrototypicalNetworks", _easyfsl),
    Contender("learn2learn, as installed", False, "without the allocator's setting", _learn2learn, installed=True),
)
