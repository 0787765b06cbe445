"""All learners under one face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torchmeta.algos as algos
from metacortex.errors import DataError, LearnerError, RunError, SettingsError
from metacortex.learners.registry import learner_entry, learner_names
from torchmeta.modules import (
    DataParallel,
    MetaBatchNorm2d,
    MetaConv2d,
    MetaLinear,
    MetaLSTM,
    MetaModule,
    MetaSequential,
)
from torchmeta.toy.helpers import sinusoid
from torchmeta.utils.data import BatchMetaDataLoader

WAYS = 3
TRANSLATING = {
    learner_entry(name).learner.__name__ for name in learner_names() if learner_entry(name).kinds == ("translation",)
}
NAMES = [name for name in algos.__all__ if name not in {"Algorithm", "TranslationAlgorithm", *TRANSLATING}]


class Net(MetaModule):
    """As programs of torchmeta write them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MetaSequential(
            MetaConv2d(1, 4, 3, stride=2), MetaBatchNorm2d(4, track_running_stats=False), nn.ReLU()
        )
        self.head = MetaLinear(4, WAYS)

    def forward(self, x: Tensor, params: Any = None) -> Tensor:
        features = self.body(x, params=self.get_subdict(params, "body"))
        return self.head(features.mean((2, 3)), params=self.get_subdict(params, "head"))


def batch(seed: int = 0, tasks: int = 2) -> dict[str, list[Tensor]]:
    """Classes are patterns, with noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(tasks, WAYS, 1, 7, 7, generator=generator)

    def part(each: int) -> list[Tensor]:
        targets = torch.arange(WAYS).repeat_interleave(each).expand(tasks, -1)
        examples = patterns.repeat_interleave(each, 1)
        return [examples + 0.1 * torch.randn(examples.shape, generator=generator), targets]

    return {"train": part(1), "test": part(2)}


def make(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    kind = getattr(algos, name)
    if kind.entry.learner.trains_on == "batches":
        options["train_classes"] = WAYS
    return kind(Net(), **options)


def test_every_learner_is_there() -> None:
    expected = {learner_entry(n).learner.__name__ for n in learner_names()}
    assert set(algos.__all__) == expected | {"Algorithm", "TranslationAlgorithm"}
    assert {"MAML", "ANIL", "MetaSGD", "ProtoNet", "MatchingNet", "Reptile", "IMAML", "MetaLSTM"} <= expected
    assert MetaLSTM is algos.MetaLSTM


@pytest.mark.parametrize("name", NAMES)
def test_trains_tests_saves_and_loads(name: str, tmp_path: Path) -> None:
    algorithm, examples = make(name), batch()
    supervised = algorithm.entry.learner.trains_on == "batches"
    given: Any = [t.flatten(0, 1) for t in examples["train"]] if supervised else examples
    said = algorithm.train(given)
    assert {"loss", "accuracy"} <= set(said)
    assert all(isinstance(value, float) for value in said.values())
    first = [p.detach().clone() for p in algorithm.parameters()]
    algorithm.train(given)
    moved = any(not torch.equal(a, b) for a, b in zip(first, algorithm.parameters(), strict=True))
    assert moved == (algorithm.entry.learner.trains_on != "nothing")
    result = algorithm.test(examples)
    assert 0 <= result["accuracy"] <= 1
    assert (result["tasks"], len(result["scores"])) == (2, 2)
    algorithm.save(tmp_path / "saved")
    loaded = make(name).load(tmp_path / "saved")
    assert loaded.test(examples)["loss"] == pytest.approx(result["loss"], rel=1e-5)
    logits = loaded.adapt(examples["train"][0][0], examples["train"][1][0])(examples["test"][0][0])
    assert logits.shape == (2 * WAYS, WAYS)


def test_train_keeps_the_meaning_of_pytorch() -> None:
    maml = algos.MAML(Net())
    assert maml.train() is maml
    assert maml.training
    assert maml.train(False) is maml
    assert not maml.training
    assert not maml.learner.training
    assert maml.eval() is maml
    assert sorted(maml.train(batch())) == ["accuracy", "loss"]
    assert maml.training


def test_learns() -> None:
    maml = algos.MAML(Net(), lr=0.4, meta_lr=0.02, inner_steps=1, eval_steps=1)
    before = maml.test(batch(7, 20))["loss"]
    for step in range(40):
        maml.train(batch(step, 4))
    assert maml.test(batch(7, 20))["loss"] < before - 0.2


def test_the_users_module_is_left_alone() -> None:
    model = Net()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    maml = algos.MAML(model)
    maml.train(batch())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert type(maml.model) is Net
    assert not torch.equal(maml.model.head.weight, model.head.weight)


def test_one_step_of_maml_by_hand() -> None:
    """Inner step and outer gradient written out with `gradient_update_parameters` and plain SGD."""
    from torchmeta.utils.gradient_based import gradient_update_parameters

    torch.manual_seed(0)
    model = MetaSequential(nn.Flatten(), MetaLinear(49, WAYS)).double()
    maml = algos.MAML(model, lr=0.1, meta_lr=0.5, optimizer=torch.optim.SGD, inner_steps=1)
    examples = batch(tasks=2)
    said = maml.train(examples)
    losses = []
    for x, y, query, truth in zip(*examples["train"], *examples["test"], strict=True):
        params = gradient_update_parameters(model, nn.functional.cross_entropy(model(x.double()), y), step_size=0.1)
        losses.append(nn.functional.cross_entropy(model(query.double(), params=params), truth))
    loss = sum(losses) / 2
    loss.backward()
    assert said["loss"] == pytest.approx(float(loss.detach()), rel=1e-9)
    expected = model[1].weight - 0.5 * model[1].weight.grad
    assert torch.allclose(maml.model[1].weight, expected, rtol=1e-9)


def test_optimizer_of_the_users_model() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sgd = algos.MetaSGD(model, optimizer=optimizer)
    assert sgd.optimizer is optimizer
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in sgd.parameters()}  # the learned rates have joined
    sgd.train(batch())
    with pytest.raises(SettingsError, match="not those of the model"):
        algos.MAML(Net(), optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters()))


def test_data_parallel_models_are_unwrapped() -> None:
    assert type(algos.MAML(DataParallel(Net())).model) is Net


def test_regression_of_float64_tasks() -> None:
    torch.manual_seed(0)
    net = MetaSequential(MetaLinear(1, 16), nn.ReLU(), MetaLinear(16, 1))
    loader = BatchMetaDataLoader(sinusoid(5, test_shots=5, num_tasks=100), batch_size=4, num_tasks=8, seed=0)
    for algorithm in (algos.MAML(net, lr=0.01), algos.CNP(MetaSequential(MetaLinear(1, 16), nn.ReLU()))):
        said = [algorithm.train(examples) for examples in loader]
        assert "mse" in said[0]
        result = algorithm.test(loader, tasks=6)
        assert (result["tasks"], result["ci95"] > 0) == (6, True)
    with pytest.raises(SettingsError, match="ProtoNet does not do regression"):
        algos.ProtoNet(net).train(next(iter(loader)))


def test_batches_of_many_makes() -> None:
    maml, examples = algos.MAML(Net()), batch()
    renamed = {"support": examples["train"], "query": examples["test"]}
    assert maml.test(renamed)["loss"] == maml.test(examples)["loss"]
    assert maml.test([batch(0), batch(1)].__iter__(), tasks=3)["tasks"] == 3
    one = {k: [t[:1] for t in v] for k, v in examples.items()}
    assert torch.equal(
        maml.adapt(one["train"])(one["test"][0][0]),
        maml.adapt(examples["train"][0][0], examples["train"][1][0])(one["test"][0][0]),
    )


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    maml = algos.MAML(Net())
    with pytest.raises(DataError, match=r"no 'train'.*ClassSplitter"):
        maml.train(batch()["train"])
    with pytest.raises(DataError, match="has no 'train', it has x"):
        maml.train({"x": 1})
    with pytest.raises(DataError, match=r"pair of tensors.*Categorical"):
        maml.train({"train": [torch.zeros(1), ["a"]], "test": []})
    with pytest.raises(LearnerError, match="learns one task, got a batch of 2"):
        maml.adapt(batch()["train"])
    with pytest.raises(SettingsError, match="did you mean 'inner_steps'"):
        algos.MAML(Net(), inner_stepz=3)
    with pytest.raises(SettingsError, match="has no inner loop"):
        algos.ProtoNet(Net(), lr=0.1)
    with pytest.raises(SettingsError, match="say train_classes"):
        algos.Baseline(Net()).train([torch.zeros(2, 1, 7, 7), torch.tensor([0, 1])])
    with pytest.raises(DataError, match="NonEpisodicWrapper"):
        make("Baseline").train(batch())
    with pytest.raises(LearnerError, match="nothing to save yet"):
        algos.ProtoNet(Net()).save(tmp_path / "x")
    with pytest.raises(RunError, match="holds no saved algorithm"):
        maml.load(tmp_path / "missing")
    maml.save(tmp_path / "maml")
    with pytest.raises(RunError, match="holds 'maml', not 'anil'"):
        algos.ANIL(Net()).load(tmp_path / "maml")
    with pytest.raises(LearnerError, match="the loss is nan"):
        maml.train({k: [v[0] * float("nan"), v[1]] for k, v in batch().items()})
