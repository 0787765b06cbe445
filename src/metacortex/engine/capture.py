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
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from metacortex.errors import LearnerError, first_line
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.nn.mode import capturing
from metacortex.task import Task
from metacortex.tree import tree_flatten, tree_map, tree_unflatten

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
        result: gradients and outcome with the position of an output in the place of each tensor.
        constants: of the outputs, those that are no tensors (by position).
    """

    run: Callable[..., list[Tensor]]
    operations: int
    result: Any
    constants: dict[int, Any]

    def __call__(self, learner: Learner, task: Task) -> Result:
        """Gradients and outcome of a task (or batch) of the shapes that were recorded, its `signature` just taken."""
        outputs = list(self.run(*_inputs(learner, task)))
        for place, value in self.constants.items():  # in the order of their places
            outputs.insert(place, value)
        gradients, outcome = self.result
        if not isinstance(outcome.prediction, int):
            return tree_map(outputs.__getitem__, self.result)
        return {name: outputs[i] for name, i in gradients.items()}, Outcome(
            outputs[outcome.loss],
            outputs[outcome.prediction],
            {name: outputs[i] for name, i in outcome.buffers.items()},
            {name: outputs[i] for name, i in outcome.metrics.items()},
        )


class _Caller(nn.Module):
    """Lets `functional_call` exchange every tensor of a learner while a function runs on it."""

    def __init__(self, learner: Learner, function: Callable[[Learner, Task], Result]) -> None:
        super().__init__()
        self.learner, self.function = learner, function

    def forward(self, task: Task) -> Result:
        return self.function(self.learner, task)


def signature(learner: Learner, task: Task) -> Signature:
    """What must be the same for a recorded graph to be used again."""
    leaves, structure = _leaves(task)
    layout = _layout(learner)
    described = tuple((x.shape, x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)
    modes = tuple(module.training for module in layout.modules)
    own = tuple((x.shape, x.dtype, x.device, x.requires_grad) for x in layout.values())
    return modes, layout.names, own, described, structure


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
        reason = first_line(error)
        raise LearnerError(
            f"it decides by the values of tensors, or uses what cannot be recorded ({reason})"
        ) from error
    _refuse_random(graph)
    places = tree_unflatten(list(range(spec[0].num_leaves)), spec[0])
    return Captured(graph, len(graph.graph.nodes), places, spec[1])


@contextmanager
def _without_log() -> Iterator[None]:
    """PyTorch writes pages to its log before it raises what is handled here."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


class _Layout:
    """Where the tensors of a learner are: looking for them takes longer than a step of a small graph.

    Attributes:
        modules: all of them.
        names: of parameters and buffers, as `torch.nn.Module.named_parameters` and ``named_buffers`` have them.
    """

    def __init__(self, learner: Learner) -> None:
        self.modules = list(learner.modules())
        self._children = [list(module._modules.values()) for module in self.modules]
        self._tables: list[tuple[dict[str, Any], list[bool]]] = []
        places: dict[str, tuple[dict[str, Any], str]] = {}
        self._twins: list[tuple[dict[str, Any], str, dict[str, Any], str]] = []
        first: dict[int, tuple[dict[str, Any], str]] = {}
        for kind in ("_parameters", "_buffers"):
            for prefix, module in learner.named_modules():
                table = getattr(module, kind)
                self._tables.append((table, [x is None for x in table.values()]))
                for key, x in table.items():
                    if x is None:
                        continue
                    if id(x) in first:
                        self._twins.append((table, key, *first[id(x)]))
                    else:
                        first[id(x)] = table, key
                        places[f"{prefix}.{key}" if prefix else key] = table, key
        self.names, self._places = tuple(places), list(places.values())

    def holds(self) -> bool:
        """Whether the learner still has the same modules, and places for tensors."""
        return (
            all(list(m._modules.values()) == own for m, own in zip(self.modules, self._children, strict=True))
            and all([x is None for x in table.values()] == none for table, none in self._tables)
            and all(table[key] is other[place] for table, key, other, place in self._twins)
        )

    def values(self) -> list[Tensor]:
        """The tensors that are there now."""
        return [table[key] for table, key in self._places]


_LAYOUTS: WeakKeyDictionary[Learner, _Layout] = WeakKeyDictionary()


def _layout(learner: Learner) -> _Layout:
    found = _LAYOUTS.get(learner)
    if found is None or not found.holds():
        found = _LAYOUTS[learner] = _Layout(learner)
    return found


def _values(learner: Learner) -> dict[str, Tensor]:
    layout = _layout(learner)
    return dict(zip(layout.names, layout.values(), strict=True))


def _leaves(task: Task) -> tuple[list[Any], str]:
    """As `tree_flatten`, with the structure in words, in less time for tasks whose inputs are tensors."""
    given = [x for s in (task.support, task.query) for x in (s.inputs, s.targets, s.mask, s.classes)]
    if task.description is None and task.info is None and all(x is None or isinstance(x, Tensor) for x in given):
        return [x for x in given if x is not None], "".join("-" if x is None else "x" for x in given)
    leaves, structure = tree_flatten(task)
    return leaves, str(structure)


def _inputs(learner: Learner, task: Task) -> list[Tensor]:
    given = [x for x in _leaves(task)[0] if isinstance(x, Tensor)]
    layout = _LAYOUTS.get(learner) or _layout(learner)  # looked through when the signature was taken
    return [x.detach() for x in layout.values()] + given


def _refuse_random(graph: GraphModule) -> None:
    for node in graph.graph.nodes:
        name = str(node.target).removeprefix("aten.")
        if node.op == "call_function" and name.startswith(_RANDOM):
            raise LearnerError(f"it draws random numbers ({name}), which a compiled graph draws differently")
    if any(isinstance(x, torch.Tensor) and x.numel() > 1 for x in _hidden(graph)):
        raise LearnerError("it uses tensors that are neither parameters nor buffers nor inputs")


def _hidden(graph: GraphModule) -> list[Any]:
    return [getattr(graph, str(n.target), None) for n in graph.graph.nodes if n.op == "get_attr"]
