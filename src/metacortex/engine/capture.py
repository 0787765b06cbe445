"""A meta-gradient recorded as one graph of tensor operations, which a compiler takes whole.

`torch.compile` cannot differentiate twice through what it has compiled, and reads Python that the learners
are free to use (context variables, modules called with other weights) only in part. So the meta-gradient
is run once on tensors without data, the operations are recorded (`torch.fx`), and the graph, in which
nothing of the learner is left, is compiled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from metacortex.errors import LearnerError
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.nn.mode import capturing
from metacortex.task import Task
from metacortex.tree import tree_flatten, tree_unflatten

__all__ = ["Captured", "Signature", "capture", "signature"]

Signature = tuple[Any, ...]
"""What a graph is good for: mode of the learner, shapes and dtypes of its tensors and of the task's."""

Result = tuple[Gradients, Outcome]

_RANDOM = ("bernoulli", "dropout", "rand", "normal", "uniform", "multinomial", "exponential")


@dataclass(frozen=True)
class Captured:
    """A recorded meta-gradient.

    Attributes:
        run: the recorded operations, from flat tensors to flat tensors; a compiled form of them serves as well.
        operations: number of operations.
        result: how the outputs are put together to gradients and outcome.
        constants: of the outputs, those that are no tensors (by position).
    """

    run: Callable[..., list[Tensor]]
    operations: int
    result: Any
    constants: dict[int, Any]

    def __call__(self, learner: Learner, task: Task) -> Result:
        """Gradients and outcome of a task (or batch) of the shapes that were recorded."""
        outputs = list(self.run(*_inputs(learner, task)))
        for place, value in sorted(self.constants.items()):
            outputs.insert(place, value)
        return tree_unflatten(outputs, self.result)


class _Caller(nn.Module):
    """Lets `functional_call` exchange every tensor of a learner while a function runs on it."""

    def __init__(self, learner: Learner, function: Callable[[Learner, Task], Result]) -> None:
        super().__init__()
        self.learner, self.function = learner, function

    def forward(self, task: Task) -> Result:
        return self.function(self.learner, task)


def signature(learner: Learner, task: Task) -> Signature:
    """What must be the same for a recorded graph to be used again."""
    leaves, spec = tree_flatten(task)
    described = tuple((tuple(x.shape), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)
    modes = tuple(module.training for module in learner.modules())
    own = tuple((name, tuple(x.shape), x.dtype, x.device) for name, x in _values(learner).items())
    trained = tuple(p.requires_grad for p in learner.parameters())
    return modes, own, trained, described, str(spec)


def capture(function: Callable[[Learner, Task], Result], learner: Learner, task: Task) -> Captured:
    """Record what a function computes for tasks of this shape.

    Args:
        function: from a learner and a task (or a batch of them) to gradients and outcome, e.g. an engine strategy.
        learner: every parameter and buffer of it is an input of the graph, so that it may change.
        task: a task without `Task.info`.

    Raises:
        LearnerError: if the computation cannot be a graph: it draws random numbers, or decides by values of tensors.
    """
    spec: list[Any] = []
    leaves, structure = tree_flatten(task)
    places = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    names, trained = list(_values(learner)), {n for n, p in learner.named_parameters() if p.requires_grad}
    caller = _Caller(learner, function)

    def flat(*tensors: Tensor) -> list[Tensor]:
        values = dict(zip(names, tensors[: len(names)], strict=True))
        values = {f"learner.{n}": x.requires_grad_() if n in trained else x for n, x in values.items()}
        filled = list(leaves)
        for place, x in zip(places, tensors[len(names) :], strict=True):
            filled[place] = x
        result = functional_call(caller, values, (tree_unflatten(filled, structure),))
        outputs, result_structure = tree_flatten(result)
        constants = {i: x for i, x in enumerate(outputs) if not isinstance(x, Tensor)}
        spec[:] = [result_structure, constants]
        return [x.detach() for x in outputs if isinstance(x, Tensor)]

    inputs = [x.detach() for x in _inputs(learner, task)]
    try:
        with capturing(), _without_log():
            graph = make_fx(flat, tracing_mode="fake")(*inputs)
    except Exception as error:  # the recorder raises many kinds, none of them public
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LearnerError(
            f"it decides by the values of tensors, or uses what cannot be recorded ({reason})"
        ) from error
    _refuse_random(graph)
    return Captured(graph, len(graph.graph.nodes), spec[0], spec[1])


@contextmanager
def _without_log() -> Iterator[None]:
    """PyTorch writes pages to its log before it raises what is handled here."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _values(learner: Learner) -> dict[str, Tensor]:
    return dict(learner.named_parameters()) | dict(learner.named_buffers())


def _inputs(learner: Learner, task: Task) -> list[Tensor]:
    given = [x for x in tree_flatten(task)[0] if isinstance(x, Tensor)]
    return [x.detach() for x in _values(learner).values()] + given


def _refuse_random(graph: GraphModule) -> None:
    for node in graph.graph.nodes:
        name = str(node.target).removeprefix("aten.")
        if node.op == "call_function" and name.startswith(_RANDOM):
            raise LearnerError(f"it draws random numbers ({name}), which a compiled graph draws differently")
    if any(isinstance(x, torch.Tensor) and x.numel() > 1 for x in _hidden(graph)):
        raise LearnerError("it uses tensors that are neither parameters nor buffers nor inputs")


def _hidden(graph: GraphModule) -> list[Any]:
    return [getattr(graph, str(n.target), None) for n in graph.graph.nodes if n.op == "get_attr"]
