"""Laws of keeping: dtype and device, copies, saved state, the shape of what the protocol returns."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from metacortex.learners.base import Learner
from metacortex.task import Task
from metacortex.testing.law import LawError, MakeLearner, MakeTask, build, draw, modes, require, same_bits
from metacortex.tree import tree_leaves, tree_map

__all__ = ["check_copies", "check_device", "check_dtype", "check_shapes", "check_state_dict"]


def _commit(learner: Learner, task: Task) -> None:
    """A training pass whose buffers are committed, so that buffers have values of their own."""
    outcome = learner.train().loss(task)
    buffers = dict(learner.named_buffers())
    with torch.no_grad():
        for name, value in outcome.buffers.items():
            buffers[name].copy_(value)
    learner.eval()


def _predict(learner: Learner, task: Task) -> Tensor:
    with torch.no_grad():
        return learner.predict(learner.adapt(task.support, description=task.description), task.query.inputs)


def _tensors(learner: Learner, task: Task) -> dict[str, list[Tensor]]:
    state = learner.adapt(task.support, description=task.description)
    results: dict[str, Any] = {
        "state": state,
        "prediction": learner.predict(state, task.query.inputs),
        "embedding": learner.embed(state, task.query.inputs),
        "outcome": learner.loss(task),
    }
    if learner.meta_parameters():
        results["gradient"] = learner.task_gradient(task)[0]
    return {name: [x for x in tree_leaves(tree) if isinstance(x, Tensor)] for name, tree in results.items()}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def check_dtype(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """Float32 in, float32 out, and the same for float64, whatever PyTorch's default dtype is.

    Raises:
        LawError: naming what came out in another dtype.
    """
    for dtype, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        learner, task = build(make_learner, dtype), draw(make_task, dtype=dtype)
        for mode in modes(learner):
            try:
                with _default_dtype(other):
                    results = _tensors(learner, task)
            except RuntimeError as error:
                raise LawError(f"dtype: in {mode} with {dtype} inputs: {error}") from error
            for name, tensors in results.items():
                wrong = {x.dtype for x in tensors if x.is_floating_point()} - {dtype}
                require(not wrong, "dtype", f"in {mode} {dtype} inputs gave a {name} with {wrong}")


def check_device(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """Everything is made on the device of the inputs, also where PyTorch's default device is another one.

    Runs on the CPU with a default device that holds no data, and on a GPU where there is one.

    Raises:
        LawError: naming what was made elsewhere.
    """
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        learner, task = build(make_learner).to(device), draw(make_task).to(torch.device(device))
        for mode in modes(learner):
            try:
                with torch.device("meta"):
                    results = _tensors(learner, task)
            except (RuntimeError, NotImplementedError) as error:
                raise LawError(f"device: in {mode} a tensor is not made on the inputs' device: {error}") from error
            for name, tensors in results.items():
                wrong = {x.device.type for x in tensors} - {device}
                require(not wrong, "device", f"in {mode} {device} inputs gave a {name} on {wrong}")


def _pickled(value: Any) -> Any:
    try:
        return pickle.loads(pickle.dumps(value))
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise LawError(f"copies: {type(value).__name__} cannot be pickled: {error}") from error


def check_copies(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """Deep copies and pickled copies of learner, state and predictor predict the same, bit for bit.

    Raises:
        LawError: naming which copy differs.
    """
    learner, task = build(make_learner), draw(make_task)
    _commit(learner, task)
    expected = _predict(learner, task)
    predictor = learner.bind(learner.adapt(task.support, description=task.description))
    for how, duplicate in (("deep", copy.deepcopy), ("pickled", _pickled)):
        duplicates: tuple[tuple[str, Callable[[], Tensor]], ...] = (
            ("learner", lambda duplicate=duplicate: _predict(duplicate(learner), task)),
            ("predictor", lambda duplicate=duplicate: duplicate(predictor)(task.query.inputs)),
            (
                "state",
                lambda duplicate=duplicate: learner.predict(duplicate(predictor.state), task.query.inputs).detach(),
            ),
        )
        for what, predict in duplicates:
            require(same_bits(expected, predict()), "copies", f"a {how} copy of the {what} predicts something else")


def check_state_dict(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """``state_dict`` holds all that a fresh learner of the same settings needs to predict the same.

    `Learner.keeps` names all that a predictor needs of it. `Outcome.buffers` uses its names.

    Raises:
        LawError: naming what is missing.
    """
    learner, task = build(make_learner), draw(make_task)
    buffers = dict(learner.named_buffers())
    unknown = set(learner.train().loss(task).buffers) - set(buffers)
    require(not unknown, "state_dict", f"Outcome.buffers has names that are no buffers: {sorted(unknown)}")
    _commit(learner, task)
    refreshed = learner.loss(task).buffers
    require(not refreshed, "state_dict", f"evaluation would change buffers: {sorted(refreshed)}")
    expected = _predict(learner, task)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = build(make_learner, noise=0.3).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    require(same_bits(expected, _predict(other, task)), "state_dict", "a learner that loads it predicts otherwise")
    unknown = learner.keeps() - set(learner.state_dict())
    require(not unknown, "state_dict", f"keeps() has names that are not in state_dict(): {sorted(unknown)}")
    predictor = learner.bind(learner.adapt(task.support, description=task.description))
    predictor.state = tree_map(torch.Tensor.clone, predictor.state)
    with torch.no_grad():
        for name, value in learner.state_dict().items():
            if name not in learner.keeps() and value.is_floating_point():
                value.fill_(float("nan"))
    require(same_bits(expected, predictor(task.query.inputs)), "state_dict", "keeps() leaves out what predictions need")


def check_shapes(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """A state is a pytree of tensors, a prediction ``[N, way]``, an embedding ``[N, D]``, a loss a scalar, all finite.

    A prediction of numbers has the shape of the targets; one of sentences has N rows of any length.

    A regression predicts as many numbers as its targets have, times ``per_output`` of its objective.

    Raises:
        LawError: naming what has another form.
    """
    learner, task = build(make_learner), draw(make_task)
    for mode in modes(learner):
        state = learner.adapt(task.support, description=task.description)
        others = {type(x).__name__ for x in tree_leaves(state) if not isinstance(x, Tensor)}
        require(not others, "shapes", f"in {mode} the state holds {sorted(others)}; it must be tensors only")
        rows, outcome = task.query.targets.shape[0], learner.loss(task)
        predictions = {"predict": learner.predict(state, task.query.inputs), "loss": outcome.prediction}
        for name, prediction in predictions.items():
            expected = (rows, task.query.way) if task.query.classes is not None else _predicted(learner, task)
            got = tuple(prediction.shape)
            if not prediction.is_floating_point() and len(got) == len(expected):
                expected = (rows, *got[1:])
            require(got == expected, "shapes", f"in {mode} the prediction of '{name}' is {got}, expected {expected}")
            require(bool(prediction.isfinite().all()), "shapes", f"in {mode} '{name}' predicts what is not finite")
        embedding = learner.embed(state, task.query.inputs)
        require(
            embedding.dim() == 2 and embedding.shape[0] == rows,
            "shapes",
            f"in {mode} the embedding is {tuple(embedding.shape)}, expected ({rows}, D)",
        )
        require(outcome.loss.dim() == 0, "shapes", f"in {mode} the loss is {tuple(outcome.loss.shape)}, not a scalar")


def _predicted(learner: Learner, task: Task) -> tuple[int, ...]:
    *leading, outputs = task.query.targets.shape
    return (*leading, outputs * getattr(learner.objective, "per_output", 1))
