"""What all function families share: regression tasks drawn from a distribution over functions of one variable."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri  # scipy.stats would take a second to import
from torch import Tensor

from metacortex.errors import DataError, SettingsError
from metacortex.task import Examples, Task, stack_tasks, unstack_tasks
from metacortex.tasks.random import Keys, bits, fold, integers, root_key

__all__ = ["Floats", "FunctionTasks", "Parameters", "check_noise", "check_range", "normals", "spread", "uniforms"]

Floats = NDArray[np.float64]
Parameters = dict[str, Floats]
"""The numbers that make one function of the family, each ``[T]``, by name."""

# Streams of random numbers within a task. Their numbers are part of what a task is: never renumber.
_SHOT, _QUERIES, _PARAMETERS, _SUPPORT, _QUERY, _VALUES, _NOISE = range(7)


def uniforms(keys: Keys, n: int) -> Floats:
    """Uniform numbers strictly between 0 and 1, ``[..., n]``, exact on every platform; a larger ``n`` only appends."""
    return ((bits(keys, n) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normals(keys: Keys, n: int) -> Floats:
    """Standard normal numbers ``[..., n]`` by inversion, one random word each; a larger ``n`` only appends."""
    return ndtri(uniforms(keys, n))


def check_range(name: str, values: tuple[float, float], *, above: float = -np.inf) -> None:
    """Refuse what is no interval ``(low, high)`` of finite numbers with ``above < low <= high``."""
    low, high = values
    if not (above < low <= high < np.inf):
        bound = "" if above == -np.inf else f", above {above:g}"
        raise SettingsError(f"{name}: expected (low, high) with low <= high{bound}, got {tuple(values)}")


def check_noise(name: str, noise: float) -> None:
    """Refuse a standard deviation below zero."""
    if not 0 <= noise < np.inf:
        raise SettingsError(f"{name}.noise: expected a number, at least 0, got {noise}")


def spread(uniform: Floats, ends: tuple[float, float]) -> Floats:
    """Uniform numbers of (0, 1) spread over an interval."""
    low, high = ends
    return low + (high - low) * uniform


class FunctionTasks(ABC):
    """Regression tasks: learn a function from examples of it.

    Task ``i`` is a pure function of ``(seed, split, i)`` and of the settings: first the parameters of
    its function, then the inputs of support and query. Inputs are rounded to single precision before the
    function is evaluated, in double precision.

    Args:
        settings: a frozen dataclass with a field ``noise``: standard deviation of what is added to
            every target.
        shot: support examples, or an inclusive range ``(low, high)`` from which each task draws.
        queries: query examples, or a range.
        seed: any integer.
        split: name of the split; different splits have unrelated tasks.

    Raises:
        SettingsError: for a size below one, or a range that is empty.
    """

    name: ClassVar[str]
    parameter_count: ClassVar[int]
    """Random numbers that make one function."""
    random_values: ClassVar[bool] = False
    """Whether every value takes a random number of its own."""
    input_shape: ClassVar[tuple[int, ...]] = (1,)
    """Shape of one input."""
    outputs: ClassVar[int] = 1
    """Length of one target."""

    def __init__(
        self,
        settings: Any,
        *,
        shot: int | tuple[int, int] = 10,
        queries: int | tuple[int, int] = 10,
        seed: int = 0,
        split: str = "train",
    ) -> None:
        self.settings = settings
        self.shot, self.queries = _size("shot", shot), _size("queries", queries)
        self.seed, self.split = operator.index(seed), split
        self._key = root_key(self.seed, f"functions/{self.name}/{split}")

    @abstractmethod
    def parameters(self, uniform: Floats) -> Parameters:
        """The parameters of T functions from uniform numbers ``[T, parameter_count]``."""

    @abstractmethod
    def inputs(self, parameters: Parameters, uniform: Floats) -> Floats:
        """Inputs ``[T, N]`` from uniform numbers ``[T, N]``."""

    @abstractmethod
    def values(self, parameters: Parameters, inputs: Floats, normal: Floats | None) -> Floats:
        """The functions at ``[T, N]``; ``normal`` is ``[T, N]`` for families with `random_values`."""

    @property
    def protocol(self) -> str:
        """What is drawn, e.g. ``"sinusoid amplitude 0.1..5 …, 10-shot 10 queries, split test"``."""
        options = [f"{key} {_shown(value)}" for key, value in vars(self.settings).items() if value != 0.0]
        shot, queries = (_shown(size) for size in (self.shot, self.queries))
        return f"{self.name} {', '.join(options)}, {shot}-shot {queries} queries, split {self.split}"

    def task(self, index: int) -> Task:
        """Draw one task.

        Args:
            index: which, from 0.

        Returns:
            A `Task` with inputs and targets ``[shot, 1]`` and ``[queries, 1]`` float32, no masks, no
            classes, and ``info``: the index and the parameters of the function.

        Raises:
            DataError: for a negative index.
        """
        return unstack_tasks(self._draw(_indices([index])))[0]

    def batch(self, indices: Sequence[int]) -> Task:
        """Draw several tasks at once: bit for bit ``stack_tasks([self.task(i) for i in indices])``.

        Args:
            indices: which, in any order; repetitions are fine.

        Raises:
            DataError: for no index at all, or a negative one.
        """
        numbers = _indices(indices)
        shot, queries = self._sizes(fold(self._key, numbers))
        if (shot == shot[0]).all() and (queries == queries[0]).all():
            return self._draw(numbers)
        return stack_tasks([self.task(i) for i in indices])

    def curve(self, index: int, inputs: Tensor) -> Tensor:
        """The function of a task at other inputs, without noise.

        A random process (`random_values`) is drawn jointly with the examples of the task, so the curve
        passes through them; curves at different inputs are different draws of what lies between.

        Args:
            index: of the task.
            inputs: ``[M, 1]``.

        Returns:
            ``[M, 1]`` of the inputs' dtype.
        """
        keys = fold(self._key, _indices([index]))
        parameters, known, normal = self._points(keys)
        x = np.concatenate([known, inputs.detach().cpu().double().numpy().reshape(1, -1)], axis=1)
        if normal is not None:
            normal = normals(fold(keys, _VALUES), x.shape[1])
        y = self.values(parameters, x, normal)[0, known.shape[1] :]
        return torch.from_numpy(y).to(inputs)[:, None]

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over the settings and the random numbers that the tasks ``0 .. count-1`` are made of.

        Not over the targets: the last digit of a sine differs between machines, these numbers do not.
        """
        digest = hashlib.sha256(f"{self.name} {self.settings!r}".encode())
        for index in range(count):
            keys = fold(self._key, np.array([index]))
            shot, queries = (int(size[0]) for size in self._sizes(keys))
            digest.update(np.array([shot, queries], dtype="<i8").tobytes())
            lengths = {_PARAMETERS: self.parameter_count, _SUPPORT: shot, _QUERY: queries}
            lengths |= {_VALUES: shot + queries} if self.random_values else {}
            lengths |= {_NOISE: shot + queries} if self.settings.noise else {}
            for stream, length in lengths.items():
                digest.update(np.ascontiguousarray(uniforms(fold(keys, stream), length), dtype="<f8").tobytes())
        return digest.hexdigest()

    def _sizes(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        def sizes(stream: int, low: int, high: int) -> NDArray[np.int64]:
            if low == high:
                return np.full(len(keys), low)
            return low + integers(bits(fold(keys, stream), 1)[:, 0], high - low + 1)

        return sizes(_SHOT, *self.shot), sizes(_QUERIES, *self.queries)

    def _points(self, keys: Keys) -> tuple[Parameters, Floats, Floats | None]:
        """Parameters, inputs ``[T, shot + queries]`` and numbers for the values, of tasks of one size."""
        shot, queries = (int(size[0]) for size in self._sizes(keys))
        parameters = self.parameters(uniforms(fold(keys, _PARAMETERS), self.parameter_count))
        parts = [uniforms(fold(keys, stream), n) for stream, n in ((_SUPPORT, shot), (_QUERY, queries))]
        x = self.inputs(parameters, np.concatenate(parts, axis=1)).astype(np.float32).astype(np.float64)
        return parameters, x, normals(fold(keys, _VALUES), x.shape[1]) if self.random_values else None

    def _draw(self, numbers: NDArray[np.int64]) -> Task:
        keys = fold(self._key, numbers)
        parameters, x, normal = self._points(keys)
        y = self.values(parameters, x, normal)
        if self.settings.noise:
            y = y + self.settings.noise * normals(fold(keys, _NOISE), y.shape[1])
        shot = int(self._sizes(keys[:1])[0][0])
        tensors = [torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))[..., None]
                   for whole in (x, y) for part in (whole[:, :shot], whole[:, shot:])]  # fmt: skip
        columns = {"index": numbers.tolist(), **{key: value.tolist() for key, value in parameters.items()}}
        infos = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return Task(Examples(tensors[0], tensors[2]), Examples(tensors[1], tensors[3]), info=infos)


def _size(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    low, high = (value, value) if isinstance(value, int | np.integer) else value
    if not 1 <= operator.index(low) <= operator.index(high):
        raise SettingsError(f"{name}: expected a positive int or a range (low, high) of such, got {value}")
    return operator.index(low), operator.index(high)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:g}" if value[0] == value[1] else f"{value[0]:g}..{value[1]:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _indices(indices: Sequence[int]) -> NDArray[np.int64]:
    numbers = [operator.index(i) for i in indices]
    if not numbers:
        raise DataError("a batch needs at least one task index, got none")
    if min(numbers) < 0:
        raise DataError(f"task indices count from 0, got {min(numbers)}")
    return np.array(numbers, dtype=np.int64)
