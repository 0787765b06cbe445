"""CUDA graphs, as far as a CPU can tell: buffers, streams, and what is said where there is no GPU."""

from __future__ import annotations

import warnings

import pytest
import torch

from metacortex.engine.choose import choose_strategy
from metacortex.engine.devices import device_name, device_of, random_devices, resolve_device
from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.engine.graphs import GraphWarning, Inputs, agree, in_streams
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Learner, Outcome
from metacortex.learners.registry import make_learner
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.task import Task, stack_tasks
from metacortex.testing import blobs


def batch(count: int = 5, seed: int = 0) -> Task:
    return stack_tasks([blobs(torch.Generator().manual_seed(seed + i), shape=(4,)) for i in range(count)])


def learner_of(name: str = "maml") -> Learner:
    torch.manual_seed(0)
    return make_learner(name, input_shape=(4,), way=3, backbone="mlp").double().train()


def test_inputs_are_copied_into_tensors_of_the_recording() -> None:
    first, other = batch(seed=0).without_info(), batch(seed=9).without_info()
    inputs = Inputs(first)
    mine = inputs.batch.query.inputs
    assert torch.equal(mine, first.query.inputs)
    assert mine.data_ptr() != first.query.inputs.data_ptr()
    inputs.fill(other)
    assert torch.equal(mine, other.query.inputs)
    assert torch.equal(inputs.batch.support.targets, other.support.targets)


def test_inputs_that_repeat_themselves_are_written_out() -> None:
    task = Task.classification(torch.ones(1, 2).expand(3, 2), torch.arange(3), torch.ones(3, 2), torch.arange(3))
    inputs = Inputs(task)
    inputs.fill(Task.classification(torch.arange(6.0).view(3, 2), torch.arange(3), torch.ones(3, 2), torch.arange(3)))
    assert inputs.batch.support.inputs.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("streams", [1, 2, 3, 8])
def test_streams_give_the_sums_of_the_loop_in_the_order_of_the_tasks(streams: int) -> None:
    learner, tasks = learner_of(), batch()
    expected, outcome = meta_gradient(learner, tasks, reduction="sum")
    got, each = in_streams(lambda learner, task: learner.task_gradient(task), learner, tasks.without_info(), streams)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(each.prediction, outcome.prediction)
    torch.testing.assert_close(each.loss.sum(), outcome.loss)


@pytest.mark.parametrize("strategy", ["graph", "graph-vmap"])
def test_without_a_gpu_the_reason_is_said_once(strategy: str) -> None:
    learner, tasks = learner_of(), batch()
    expected, _ = meta_gradient(learner, tasks)
    with pytest.warns(GraphWarning, match=f"strategy '{strategy}' .* without a CUDA graph: CUDA graphs need a GPU"):
        got, _ = meta_gradient(learner, tasks, strategy=strategy)
    torch.testing.assert_close(got, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta_gradient(learner, tasks, strategy=strategy)


def test_names_of_strategies() -> None:
    assert strategy_names() == ["loop", "vmap"]
    assert strategy_names(compiling=True, graphs=True) == [
        "compile",
        "compile-vmap",
        "graph",
        "graph-vmap",
        "loop",
        "vmap",
    ]


def test_auto_leaves_graphs_to_gpus() -> None:
    choice = choose_strategy(learner_of(), batch(), repeats=1, steps=1, precision="bf16")
    assert set(choice.seconds) == {"loop", "vmap"}


def test_a_recording_with_another_gradient_is_refused() -> None:
    outcome = Outcome(torch.zeros(()), None)
    one, other = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, 1.5])}
    agree((one, outcome), (one, outcome), "float32")
    with pytest.raises(LearnerError, match=r"differs by 3\.3e-01"):
        agree((one, outcome), (other, outcome), "float32")
    agree((one, outcome), (other, outcome), "bf16")
    for wrong in (torch.full((2,), torch.nan), torch.tensor([1.0, -1.0]), torch.tensor([2.0, 2.0])):
        for precision in ("bf16", "tf32"):
            with pytest.raises(LearnerError, match="of its length"):
                agree(({"w": wrong}, outcome), (one, outcome), precision)


def test_sums_in_double_precision_of_what_was_computed_in_single() -> None:
    one, other = {"w": torch.ones(2).double()}, {"w": torch.tensor([1.0, 1.0001]).double()}
    single, double = Outcome(torch.zeros(()), None), Outcome(torch.zeros(()).double(), None)
    agree((one, single), (other, single), "float32")
    agree((one, single), ({"w": torch.tensor([1.0, 1.1]).double()}, single), "bf16")
    with pytest.raises(LearnerError, match=r"1\.0e-04 of the largest entry"):
        agree((one, double), (other, double), "float32")


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    for wrong in ("gpu", "cuda:x", "cpu:1", ""):
        with pytest.raises(SettingsError, match="expected auto, cpu, cuda or cuda:N"):
            resolve_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(SettingsError, match="choose cpu or auto"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(resolve_device(name, local_rank=3)) for name in ("auto", "cuda", "cuda:0")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
    ]
    with pytest.raises(SettingsError, match="there are 2 GPUs"):
        resolve_device("cuda:2")


def test_where_a_module_is() -> None:
    assert device_of(NearestNeighbour()).type == "cpu"
    assert device_of(torch.nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_name(torch.device("cpu"))
    assert random_devices(torch.device("cpu")) == []
    assert random_devices(torch.device("cuda:1")) == [torch.device("cuda:1")]
