"""CUDA graphs: all kernels of a meta-gradient recorded once and launched together ever after.

A meta-gradient is thousands of small kernels, and a GPU waits for Python between them. Recorded, they are
launched as one; tasks that are computed one after the other lie on several streams, so that the GPU works on some of
them at once. Weights are read where they are, so an outer step that changes them in place needs no new recording;
inputs are copied into tensors of the recording, results are copied out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

from metacortex.engine.agreement import differs
from metacortex.engine.capture import signature
from metacortex.engine.precision import twice_differentiable
from metacortex.engine.totals import add_up
from metacortex.errors import LearnerError, first_line
from metacortex.learners.base import Gradients, Learner, Outcome
from metacortex.nn.mode import capturing
from metacortex.nn.norm import fused_kernels
from metacortex.task import Task, unstack_tasks
from metacortex.tree import tree_flatten, tree_map, tree_unflatten

__all__ = ["STREAMS", "GraphWarning", "Graphing", "Inputs", "Replays", "agree", "in_streams"]

STREAMS = 8
"""Tasks that a GPU works on at once where they are computed one by one: a Conv4's kernels for five images fill a
fraction of its multiprocessors."""

_SHAPES = 8
"""Recordings kept for one learner; tasks of ever new shapes are not worth recording."""

Result = tuple[Gradients, Outcome]
Found = TypeVar("Found")


class GraphWarning(UserWarning):
    """A meta-gradient is computed without a CUDA graph."""


class Inputs:
    """Tensors of a recording, into which those of other tasks of the same shapes are copied.

    Args:
        batch: tasks without `Task.info`.

    Attributes:
        batch: the same tasks in tensors of its own.
    """

    def __init__(self, batch: Task) -> None:
        leaves, spec = tree_flatten(batch)
        self._places = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        # A view that repeats its elements cannot be written to.
        self._own = [leaves[i].contiguous().clone() for i in self._places]
        filled = list(leaves)
        for place, x in zip(self._places, self._own, strict=True):
            filled[place] = x
        self.batch: Task = tree_unflatten(filled, spec)

    def fill(self, batch: Task) -> None:
        """Copy tasks of the same shapes."""
        leaves = tree_flatten(batch)[0]
        for own, place in zip(self._own, self._places, strict=True):
            own.copy_(leaves[place], non_blocking=True)


class _Replay:
    """A function of a learner and a batch of tasks as a CUDA graph.

    Args:
        function: it must not wait for the GPU, draw random numbers or decide by the values of tensors.
        learner: its tensors are read where they are.
        batch: tasks without `Task.info`, on the GPU.

    Raises:
        LearnerError: if it cannot be recorded.
    """

    def __init__(self, function: Callable[[Learner, Task], Any], learner: Learner, batch: Task) -> None:
        device = batch.query.targets.device
        self.index = device.index or 0
        self._inputs = Inputs(batch)
        with torch.cuda.device(device), capturing():
            _rehearse(function, learner, self._inputs.batch, device)
            self._graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(self._graph, pool=_pool(device), capture_error_mode="thread_local"):
                    self._outputs = function(learner, self._inputs.batch)
            except Exception as error:
                raise LearnerError(f"it cannot be recorded ({first_line(error)})") from error
        _LIVE.add(self)

    @property
    def pool(self) -> Any:
        """Where its tensors lie."""
        return self._graph.pool()

    def __call__(self, batch: Task) -> Any:
        self._inputs.fill(batch)
        self._graph.replay()
        # The next replay of any recording writes over these.
        return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, self._outputs)


def _rehearse(function: Callable[[Learner, Task], Any], learner: Learner, batch: Task, device: torch.device) -> None:
    """Run a few times on another stream: libraries set themselves up, and what cannot be recorded shows."""
    generator = torch.cuda.default_generators[device.index or 0]
    before = generator.get_offset()
    stream, here = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(here)
    try:
        with torch.cuda.stream(stream), warnings.catch_warnings():
            function(learner, batch)
            torch.cuda.synchronize(device)
            warnings.simplefilter("ignore")  # that this check is young
            torch.cuda.set_sync_debug_mode("error")
            function(learner, batch)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise LearnerError(f"it waits for the GPU, or cannot be computed like this ({first_line(error)})") from error
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here.wait_stream(stream)
    torch.cuda.synchronize(device)
    if generator.get_offset() != before:
        raise LearnerError("it draws random numbers, which a recording would draw differently")


_LIVE: WeakSet[_Replay] = WeakSet()


def _pool(device: torch.device) -> Any:
    """One pool of memory for all recordings of a GPU: they run one after the other.

    It belongs to the recordings that live: PyTorch gives a pool up with the last of them, so no handle is kept.
    """
    index = device.index or 0
    return next((replay.pool for replay in _LIVE if replay.index == index), None)


@dataclass
class _Kept:
    replays: dict[Any, _Replay | None] = field(default_factory=dict)
    reason: str | None = None


class Replays:
    """The recordings of a function for learners and tasks of several shapes."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Learner, _Kept] = WeakKeyDictionary()

    def __call__(
        self,
        function: Callable[[Learner, Task], Found],
        learner: Learner,
        batch: Task,
        precision: str,
        check: Callable[[Found, Found], None] | None = None,
    ) -> Found | None:
        """What the function gives, from a recording; ``None`` where there can be none, see `reason`.

        Args:
            function: of a learner and a batch.
            learner: whose.
            batch: tasks without `Task.info`, on a GPU.
            precision: part of what a recording is good for.
            check: called with what the first replay gave and what the function itself gives; raises `LearnerError`.
        """
        kept = self._kept.setdefault(learner, _Kept())
        addresses = tuple(x.data_ptr() for x in (*learner.parameters(), *learner.buffers()))
        key = (signature(learner, batch), addresses, precision)
        if key not in kept.replays:
            kept.replays[key] = None
            if kept.reason is None:
                try:
                    if len(kept.replays) > _SHAPES:
                        raise LearnerError(f"its tasks have more than {_SHAPES} different shapes")
                    replay = _Replay(function, learner, batch)
                    if check is not None:
                        check(replay(batch), function(learner, batch))
                    kept.replays[key] = replay
                except LearnerError as error:
                    kept.reason = str(error)
        replay = kept.replays[key]
        return None if replay is None else replay(batch)

    def reason(self, learner: Learner) -> str | None:
        """Why nothing (more) is recorded for a learner; ``None`` where it is."""
        kept = self._kept.get(learner)
        return None if kept is None else kept.reason


def in_streams(
    function: Callable[[Learner, Task], Result], learner: Learner, batch: Task, streams: int = STREAMS
) -> Result:
    """Summed gradients, and outcomes per task ``[T, ...]``, of tasks dealt to streams of a GPU.

    Args:
        function: gradients and outcome of one task.
        learner: whose.
        batch: tasks without `Task.info`; on a CPU they are computed one after the other.
        streams: how many at once.
    """
    tasks = unstack_tasks(batch)
    lanes, device = min(streams, len(tasks)), batch.query.targets.device
    outcomes: list[Any] = [None] * len(tasks)
    totals: list[Gradients] = []

    def lane(first: int) -> None:
        total: Gradients = {}
        for i in range(first, len(tasks), lanes):
            gradients, outcomes[i] = function(learner, tasks[i])
            add_up(total, gradients)
        totals.append(total)

    if device.type == "cuda":
        here = torch.cuda.current_stream(device)
        others = [torch.cuda.Stream(device) for _ in range(lanes)]
        for first, stream in enumerate(others):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                lane(first)
        for stream in others:
            here.wait_stream(stream)
    else:
        for first in range(lanes):
            lane(first)
    for total in totals[1:]:
        add_up(totals[0], total)
    return totals[0], tree_map(lambda *xs: torch.stack(xs), outcomes[0], *outcomes[1:])


class Graphing:
    """A strategy that replays another one.

    Args:
        name: under which it is registered.
        eager: from a learner and a batch of tasks to the sum of the gradients and the outcomes; ``None``: the tasks
            one by one, on several streams.
    """

    def __init__(self, name: str, eager: Callable[[Learner, Task], Result] | None) -> None:
        self.name, self.eager = name, eager
        self.replays = Replays()
        self._said: WeakKeyDictionary[Learner, bool] = WeakKeyDictionary()

    def __call__(self, learner: Learner, batch: Task, workers: int, precision: str) -> Result | None:
        """Sum of the task gradients and outcomes per task ``[T, ...]``; ``None`` where it cannot be recorded."""
        tasks = batch.without_info()
        device = tasks.query.targets.device
        if device.type != "cuda":
            self._say(learner, "CUDA graphs need a GPU")
            return None

        def compute(learner: Learner, batch: Task) -> Result:
            with twice_differentiable(precision, device), fused_kernels(self.eager is None):
                if self.eager is not None:
                    return self.eager(learner, batch)
                return in_streams(lambda learner, task: learner.task_gradient(task), learner, batch)

        done = self.replays(compute, learner, tasks, precision, lambda got, own: agree(got, own, precision))
        if done is None:
            self._say(learner, self.replays.reason(learner) or "")
        return done

    def _say(self, learner: Learner, reason: str) -> None:
        if learner in self._said:
            return
        self._said[learner] = True
        warnings.warn(
            f"strategy '{self.name}' computes the meta-gradient of '{learner.name}' without a CUDA graph: {reason}",
            GraphWarning,
            stacklevel=5,
        )


def agree(got: Result, expected: Result, precision: str) -> None:
    """Refuse a recording that gives another gradient.

    Raises:
        LearnerError: saying by how much.
    """
    by = differs(got[0], expected[0], precision, expected[1].loss.dtype)
    if by is not None:
        raise LearnerError(f"the recorded gradient differs by {by} from the one that is not")
