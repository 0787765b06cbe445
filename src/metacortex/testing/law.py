"""What the laws share: how learners and tasks are made, and how values are compared."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metacortex.learners.base import Learner, Outcome
from metacortex.task import Examples, Task
from metacortex.tree import tree_leaves

__all__ = [
    "LawError",
    "MakeLearner",
    "MakeTask",
    "Snapshot",
    "blobs",
    "build",
    "distance",
    "draw",
    "is_transductive",
    "lines",
    "modes",
    "phrases",
    "require",
    "same_bits",
    "scores",
]

MakeLearner = Callable[[], Learner]
"""Makes a fresh learner; called several times."""

MakeTask = Callable[[torch.Generator], Task]
"""Makes a small task from a generator, the same one from the same generator state."""


class LawError(AssertionError):
    """A learner breaks a law; the message says which one and how."""


def require(condition: object, law: str, message: str) -> None:
    """Raise `LawError` unless the condition holds."""
    if not condition:
        raise LawError(f"{law}: {message}")


def blobs(
    generator: torch.Generator,
    *,
    way: int = 3,
    shot: int = 2,
    queries: int = 2,
    shape: tuple[int, ...] = (3, 6, 6),
    spread: float = 0.5,
) -> Task:
    """A task of Gaussian classes, a ready-made `MakeTask`.

    Args:
        generator: source of randomness.
        way: classes.
        shot: support examples per class.
        queries: query examples per class.
        shape: shape of one input.
        spread: standard deviation within a class; that between the classes' means is one.

    Returns:
        A classification task of float64 inputs ``[way*shot, *shape]`` and ``[way*queries, *shape]``.
    """
    means = torch.randn(way, *shape, generator=generator, dtype=torch.float64)

    def sample(count: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(way).repeat_interleave(count)
        noise = torch.randn(way * count, *shape, generator=generator, dtype=torch.float64)
        return means[targets] + spread * noise, targets

    return Task.classification(*sample(shot), *sample(queries), way=way)


def phrases(
    generator: torch.Generator,
    *,
    pairs: int = 3,
    queries: int = 3,
    words: int = 6,
    length: int = 4,
    languages: int = 3,
) -> Task:
    """A task of translation between made-up languages, a ready-made `MakeTask`.

    The translation of a sentence is that sentence reversed, each word exchanged for another.

    Args:
        generator: source of randomness.
        pairs: support pairs.
        queries: query pairs.
        words: words of the languages; with the four special tokens the vocabulary has ``words + 4``.
        length: words of the longest sentence.
        languages: number of language tags.

    Returns:
        A translation task, see `metacortex.learners.translation`, described in two words that depend on
        the exchange.
    """
    exchange = torch.randperm(words, generator=generator)

    def sample(count: int) -> Examples:
        lengths = torch.randint(1, length + 1, (count,), generator=generator)
        lengths[:1] = length
        source = torch.zeros(count, length, dtype=torch.int64)
        target = torch.zeros(count, length + 1, dtype=torch.int64)
        for row, size in enumerate(lengths.tolist()):
            sentence = torch.randint(0, words, (size,), generator=generator)
            source[row, :size] = sentence + 4
            target[row, :size] = exchange[sentence].flip(0) + 4
            target[row, size] = 2
        return Examples({"source": source, "source_length": lengths}, target)

    tags = torch.randint(0, languages, (2,), generator=generator)
    description = {
        "tokens": torch.cat([exchange[:2] + 4, torch.zeros(1, dtype=torch.int64)]),
        "length": torch.tensor(2),
        "source_language": tags[0],
        "target_language": tags[1],
    }
    return Task(sample(pairs), sample(queries), description)


def lines(
    generator: torch.Generator, *, shot: int = 5, queries: int = 4, shape: tuple[int, ...] = (1,), outputs: int = 1
) -> Task:
    """A regression task of random linear functions, a ready-made `MakeTask`.

    Args:
        generator: source of randomness.
        shot: support examples.
        queries: query examples.
        shape: shape of one input.
        outputs: length of one target.

    Returns:
        A task of float64 inputs ``[N, *shape]``, uniform in −1 … 1, and targets ``[N, outputs]``.
    """
    width = math.prod(shape)
    slope, intercept = torch.randn(2, outputs, generator=generator, dtype=torch.float64)[:, None]
    direction = torch.randn(width, 1, generator=generator, dtype=torch.float64) / width**0.5

    def sample(count: int) -> Examples:
        inputs = 2 * torch.rand(count, *shape, generator=generator, dtype=torch.float64) - 1
        return Examples(inputs, inputs.flatten(1) @ direction * slope + intercept)

    return Task(sample(shot), sample(queries))


def build(make_learner: MakeLearner, dtype: torch.dtype = torch.float64, *, noise: float = 0.1) -> Learner:
    """A learner whose parameters are moved off special values such as zero, which hide mistakes.

    Neither random state nor anything else outside the learner changes; two calls give equal learners.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = make_learner().to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator).to(parameter)
    return learner


def draw(make_task: MakeTask, seed: int = 0, dtype: torch.dtype = torch.float64) -> Task:
    """The task of a seed, without ``info``."""
    return make_task(torch.Generator().manual_seed(seed)).to(dtype).without_info()


def modes(learner: Learner) -> Iterator[str]:
    """Put the learner into training, then into evaluation mode."""
    for training in (True, False):
        learner.train(training)
        yield "training mode" if training else "evaluation mode"


def is_transductive(learner: Learner) -> bool:
    """Whether the learner or a module in it declares that predictions depend on the other queries."""
    return any(bool(getattr(module, "transductive", False)) for module in learner.modules())


def same_bits(a: Any, b: Any) -> bool:
    """Whether two pytrees hold equal tensors of equal dtype."""
    xs, ys = tree_leaves(a), tree_leaves(b)
    return len(xs) == len(ys) and all(
        x.dtype == y.dtype and torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x == y
        for x, y in zip(xs, ys, strict=True)
    )


def distance(a: Any, b: Any) -> float:
    """Largest difference of two pytrees of tensors, relative to their size where that is above one.

    Infinite where the trees or shapes differ, or a number is not finite.
    """
    xs, ys = tree_leaves(a), tree_leaves(b)
    if len(xs) != len(ys) or any(x.shape != y.shape for x, y in zip(xs, ys, strict=True)):
        return float("inf")
    worst = 0.0
    for x, y in zip(xs, ys, strict=True):
        if x.numel():
            x, y = x.detach(), y.detach()
            gap = float((x.double() - y.double()).abs().max()) / max(1.0, float(y.double().abs().max()))
            worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def scores(outcome: Outcome) -> dict[str, Any]:
    """The parts of an outcome that every way of computing it must agree on."""
    return {"loss": outcome.loss, "buffers": outcome.buffers, "metrics": outcome.metrics}


class Snapshot:
    """Everything that a pure call must leave as it is: a module, random states, tensors.

    Args:
        module: whose parameters, buffers, modes and attributes are watched.
        tensors: a pytree of other tensors.
    """

    def __init__(self, module: nn.Module, tensors: Any = None) -> None:
        self.module, self.tensors = module, tensors
        self.before = self._values()
        self.tensors_before = [x.clone() for x in tree_leaves(tensors) if isinstance(x, Tensor)]
        self.random = _random_state()

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, p in self.module.named_parameters(remove_duplicate=False):
            values[f"parameter '{name}'"] = p.detach().clone()
            values[f"place of parameter '{name}'"] = p.data_ptr()
            values[f"gradient of parameter '{name}'"] = None if p.grad is None else p.grad.clone()
            values[f"requires_grad of parameter '{name}'"] = p.requires_grad
        for name, b in self.module.named_buffers(remove_duplicate=False):
            values[f"buffer '{name}'"] = b.detach().clone()
            values[f"graph of buffer '{name}'"] = b.requires_grad
        for name, m in self.module.named_modules():
            values[f"type of module '{name}'"] = type(m)
            for key, value in vars(m).items():
                if isinstance(value, (bool, int, float, str)):
                    values[f"attribute '{key}' of module '{name}'"] = value
                elif isinstance(value, (Tensor, dict, list)) and not key.startswith("_"):
                    values[f"tensors in attribute '{key}' of module '{name}'"] = _clones(value)
        return values

    def changes(self, *, random_state: bool = True) -> list[str]:
        """What has changed since, in words."""
        after = self._values()
        found = [
            name
            for name in dict.fromkeys([*self.before, *after])
            if name not in after or name not in self.before or not same_bits(self.before[name], after[name])
        ]
        tensors = [x for x in tree_leaves(self.tensors) if isinstance(x, Tensor)]
        if not same_bits(self.tensors_before, tensors):
            found.append("the tensors of the task")
        if random_state:
            now = _random_state()
            found += [f"random state of {name}" for name, state in self.random.items() if state != now[name]]
        return found


def _clones(value: Any) -> list[Any]:
    return [x.detach().clone() for x in tree_leaves(value) if isinstance(x, Tensor)]


def _random_state() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "python": random.getstate(),
    }
