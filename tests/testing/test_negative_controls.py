"""Negative controls: for each law, learners broken on purpose fail it, and the sound one does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.metric.protonet import ProtoNet
from metacortex.testing import (
    LAWS,
    LawError,
    blobs,
    check_any_way,
    check_learner,
    check_memory,
    check_module_untouched,
    check_shared_parameters,
)
from metacortex.tree import tree_map


def body() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4))


class Sound(ProtoNet):
    """What all the broken ones are made from."""

    def __init__(self, norm: str = "running") -> None:
        super().__init__(body(), norm=norm)

    @property
    def layer(self) -> nn.Linear:
        return self.body.model[1]  # type: ignore[index,return-value]


class MovesParameter(Sound):
    def adapt(self, support, **more):
        with torch.no_grad():
            self.layer.weight += 1e-12
        return super().adapt(support, **more)


class MovesBuffer(Sound):
    def predict(self, state, inputs):
        self.body.model[2].running_mean += 1.0
        return super().predict(state, inputs)


class MovesSupport(Sound):
    def adapt(self, support, **more):
        state = super().adapt(support, **more)
        support.inputs[0] += 1
        return state


class DrawsTorch(Sound):
    def adapt(self, support, **more):
        torch.rand(1)
        return super().adapt(support, **more)


class DrawsNumpy(Sound):
    def adapt(self, support, **more):
        np.random.rand()
        return super().adapt(support, **more)


class DrawsPython(Sound):
    def predict(self, state, inputs):
        random.random()
        return super().predict(state, inputs)


class Counts(Sound):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def predict(self, state, inputs):
        self.calls += 1
        return super().predict(state, inputs)


class Remembers(Sound):
    def adapt(self, support, **more):
        self.last = super().adapt(support, **more)
        return self.last


class SwitchesMode(Sound):
    def adapt(self, support, **more):
        state = super().adapt(support, **more)
        self.body.model[2].eval()
        return state


class LeavesGrad(Sound):
    def task_gradient(self, task):
        super().loss(task).loss.backward()
        return super().task_gradient(task)


class KeepsGraph(Sound):
    def loss(self, task):
        with torch.enable_grad():
            return super().loss(task)


class PredictorKeepsGraph(Sound):
    def predict(self, state, inputs):
        with torch.enable_grad():
            return super().predict(state, inputs)


class CommitsInEvaluation(Sound):
    def loss(self, task):
        self.body.model[2].running_mean.add_(0.1)
        return super().loss(task)


class SinglePrecision(Sound):
    def predict(self, state, inputs):
        return super().predict(state, inputs).float()


class DefaultPrecision(Sound):
    def adapt(self, support, **more):
        state = super().adapt(support, **more)
        return {**state, "extra": torch.zeros(3)}


class DefaultDevice(Sound):
    def adapt(self, support, **more):
        state = super().adapt(support, **more)
        return {**state, "prototypes": state["prototypes"] + torch.ones(4, dtype=support.inputs.dtype)}


class Unpicklable(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: x


class ForgetsScale(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0

    def __getstate__(self):
        return {**self.__dict__, "scale": 1.0}


class UnsavedBuffer(Sound):
    def __init__(self) -> None:
        super().__init__()
        norm = self.body.model[2]
        mean = norm.running_mean
        del norm.running_mean
        norm.register_buffer("running_mean", mean, persistent=False)


class KeepsNothing(Sound):
    def keeps(self):
        return set()


class UnknownBuffer(Sound):
    def loss(self, task):
        return replace(super().loss(task), buffers={"running_mean": torch.zeros(4)})


class RefreshesInEvaluation(Sound):
    def loss(self, task):
        outcome = super().loss(task)
        return replace(outcome, buffers={"body.model.2.running_mean": self.body.model[2].running_mean + 1})


class HalvesGradient(Sound):
    def task_gradient(self, task):
        gradients, outcome = super().task_gradient(task)
        return {name: g / 2 for name, g in gradients.items()}, outcome


class DropsParameter(Sound):
    def task_gradient(self, task):
        gradients, outcome = super().task_gradient(task)
        gradients.popitem()
        return gradients, outcome


class DetachesState(Sound):
    def adapt(self, support, **more):
        return tree_map(torch.Tensor.detach, super().adapt(support, **more))

    def loss(self, task):
        state = self.adapt(task.support)
        return self.outcome(self.predict(state, task.query.inputs), task.query)


class AttachedGradient(Sound):
    def task_gradient(self, task):
        gradients, outcome = super().task_gradient(task)
        return {name: g * self.layer.weight.sum() for name, g in gradients.items()}, outcome


class StockNorm(MAML):
    """A fused norm layer under vmap: second-order gradients are silently wrong there."""

    def __init__(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 4))
        super().__init__(model, 0.5)
        self.body.model = model


class FirstExampleOnly(Sound):
    def adapt(self, support, **more):
        first = torch.stack([(support.targets == c).int().argmax() for c in range(support.way)])
        state = super().adapt(support, **more)
        return {**state, "prototypes": super().embed(state, support.inputs)[first]}


class IgnoresMask(Sound):
    def adapt(self, support, **more):
        return super().adapt(replace(support, mask=None), **more)

    def loss(self, task):
        return super().loss(replace(task, support=replace(task.support, mask=None)))


class CountsPaddedQueries(Sound):
    def loss(self, task):
        return super().loss(replace(task, query=replace(task.query, mask=None)))


class PredictsPaddingSlots(Sound):
    def compare(self, state, features):
        return super().compare({**state, "classes": torch.ones_like(state["classes"])}, features)


class SecretlyTransductive(Sound):
    def predict(self, state, inputs):
        logits = super().predict(state, inputs)
        return logits - logits.mean(0)


class NeverLearns(Sound):
    def outcome(self, prediction, query, buffers=None):
        return super().outcome(0 * prediction, query, buffers)


class NamesInState(Sound):
    def adapt(self, support, **more):
        return {**super().adapt(support, **more), "names": "abc"}


class ImageEmbedding(Sound):
    def embed(self, state, inputs):
        return super().embed(state, inputs).unsqueeze(-1) if inputs.shape[0] != 6 else inputs

    def predict(self, state, inputs):
        return self.compare(state, super().embed(state, inputs))


class OneSlotMore(Sound):
    def predict(self, state, inputs):
        return torch.nn.functional.pad(super().predict(state, inputs), (0, 1), value=-9.0)


class LossPerQuery(Sound):
    def loss(self, task):
        outcome = super().loss(task)
        return replace(outcome, loss=outcome.loss.expand(2))


BROKEN: list[tuple[str, Callable[[], Any], str]] = [
    ("pure", MovesParameter, "parameter 'body.model.1.weight'"),
    ("pure", MovesBuffer, "running_mean"),
    ("pure", MovesSupport, "tensors of the task"),
    ("pure", DrawsTorch, "random state of torch"),
    ("pure", DrawsNumpy, "random state of numpy"),
    ("pure", DrawsPython, "random state of python"),
    ("pure", Counts, "attribute 'calls'"),
    ("pure", Remembers, "attribute 'last'"),
    ("pure", SwitchesMode, "attribute 'training'"),
    ("pure", LeavesGrad, "gradient of parameter"),
    ("evaluation", KeepsGraph, "keeps the graph"),
    ("evaluation", PredictorKeepsGraph, "keeps the graph"),
    ("evaluation", CommitsInEvaluation, "running_mean"),
    ("dtype", SinglePrecision, "float"),
    ("dtype", DefaultPrecision, "state"),
    ("device", DefaultDevice, "device"),
    ("copies", Unpicklable, "cannot be pickled"),
    ("copies", ForgetsScale, "copy of the learner"),
    ("state_dict", UnsavedBuffer, "predicts otherwise"),
    ("state_dict", KeepsNothing, r"keeps\(\) leaves out"),
    ("state_dict", UnknownBuffer, "no buffers"),
    ("state_dict", RefreshesInEvaluation, "evaluation would change"),
    ("meta_gradient", HalvesGradient, "finite differences"),
    ("meta_gradient", DropsParameter, "names differ"),
    ("meta_gradient", DetachesState, "finite differences"),
    ("meta_gradient", AttachedGradient, "not detached"),
    ("strategies", StockNorm, "'vmap' differs from 'loop'"),
    ("order", FirstExampleOnly, "order of the support set"),
    ("masks", IgnoresMask, "padding moves"),
    ("masks", CountsPaddedQueries, "padding moves"),
    ("masks", PredictsPaddingSlots, "padding"),
    ("stacking", IgnoresMask, "ragged"),
    ("stacking", CountsPaddedQueries, "ragged"),
    ("independence", SecretlyTransductive, "transductive = True"),
    ("overfits", NeverLearns, "60 steps"),
    ("shapes", NamesInState, "tensors only"),
    ("shapes", ImageEmbedding, "embedding"),
    ("shapes", OneSlotMore, "expected"),
    ("shapes", LossPerQuery, "not a scalar"),
]


@pytest.mark.parametrize(("law", "broken", "message"), BROKEN, ids=[f"{b[0]}-{b[1].__name__}" for b in BROKEN])
def test_a_broken_learner_fails(law: str, broken: Callable[[], Any], message: str) -> None:
    with pytest.raises(LawError, match=message):
        LAWS[law](broken, blobs)


def test_the_sound_learner_keeps_all_laws() -> None:
    check_learner(Sound, blobs)


def test_every_law_has_a_negative_control() -> None:
    assert {law for law, _, _ in BROKEN} == set(LAWS)


def test_all_broken_laws_are_listed() -> None:
    with pytest.raises(LawError) as caught:
        check_learner(IgnoresMask, blobs, skip=["overfits"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["masks", "stacking"]


def test_an_unknown_law_is_named() -> None:
    with pytest.raises(SettingsError, match="did you mean 'masks'"):
        check_learner(Sound, blobs, skip=["mask"])


def test_a_declared_transductive_learner_may_look_at_the_other_queries() -> None:
    LAWS["independence"](lambda: Sound("query-batch"), blobs)


def test_fixed_head_does_not_serve_any_way() -> None:
    with pytest.raises(LawError, match="6-way 1-shot task fails"):
        check_any_way(lambda: MAML(body()), lambda generator, way, shot: blobs(generator, way=way, shot=shot))


class KeepsHistory(MAML):
    def adapt(self, support, **more):
        carries = [self.start(support)]
        for k in range(self.steps):
            carries.append(self.step(carries[-1], support, k)[0])
        return {**self.finish(carries[-1], support), "history": [c["fast"] for c in carries]}

    def loss(self, task):
        return self.outcome(self.predict(self.adapt(task.support), task.query.inputs), task.query)


def test_keeping_every_step_is_not_flat() -> None:
    check_memory(lambda steps: MAML(body(), 0.1, steps), blobs)
    with pytest.raises(LawError, match="bytes with 2 inner steps"):
        check_memory(lambda steps: KeepsHistory(body(), 0.1, steps), blobs)


class HoldsModule(ProtoNet):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(nn.Identity())
        self.body.model = module


class SharesWeights(ProtoNet):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.body.model[1].weight.data = module[1].weight.data


class Patches(ProtoNet):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        module.eval()


@pytest.mark.parametrize(
    ("wrap", "message"), [(HoldsModule, "shares"), (SharesWeights, "shares"), (Patches, "attribute 'training'")]
)
def test_sharing_or_changing_the_module_is_found(wrap: Callable[[nn.Module], Any], message: str) -> None:
    check_module_untouched(ProtoNet, body, blobs)
    with pytest.raises(LawError, match=message):
        check_module_untouched(wrap, body, blobs)


class Unties(ProtoNet):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.body.model.second.weight = nn.Parameter(module.second.weight.detach().clone())


class TrainsFrozen(ProtoNet):
    def meta_parameters(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.named_parameters()}


class DropsUnused(ProtoNet):
    def task_gradient(self, task):
        gradients, outcome = super().task_gradient(task)
        return {name: g for name, g in gradients.items() if g.any()}, outcome


@pytest.mark.parametrize(
    ("wrap", "message"), [(Unties, "one gradient"), (TrainsFrozen, "requires_grad=False"), (DropsUnused, "unused")]
)
def test_wrong_treatment_of_shared_parameters_is_found(wrap: Callable[[nn.Module], Any], message: str) -> None:
    with pytest.raises(LawError, match=message):
        check_shared_parameters(wrap, blobs, outputs=3)
