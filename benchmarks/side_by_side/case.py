"""What is compared: one network, one batch of tasks, one way to adapt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NOT_ASKED", "Batch", "Case", "Contender", "Gradients", "Step", "Unable"]

Gradients = dict[str, Tensor]
"""Mean meta-gradient of the tasks by the network's parameter names."""

Step = Callable[[], Gradients]


class Unable(Exception):
    """A contender cannot do a case; the message says why."""


NOT_ASKED = "not part of this case"
"""Why a strategy of metacortex's is missing where it was not meant to take part."""


@dataclass(frozen=True)
class Batch:
    """Tasks: inputs ``[T, N, ...]`` and targets, int64 classes ``[T, N]`` or values ``[T, N, outputs]``."""

    support: Tensor
    support_targets: Tensor
    query: Tensor
    query_targets: Tensor

    def to(self, dtype: torch.dtype) -> Batch:
        """The same with floating-point tensors of another dtype."""
        parts = (self.support, self.support_targets, self.query, self.query_targets)
        return Batch(*(x.to(dtype) if x.is_floating_point() else x for x in parts))

    def __len__(self) -> int:
        return len(self.support)

    def task(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors of one task."""
        return self.support[i], self.support_targets[i], self.query[i], self.query_targets[i]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: printed.
        network: makes the network, of stock layers; its parts are ``backbone`` and ``head``.
        batch: makes the tasks, float32.
        learner: ``"maml"``, ``"anil"``, ``"protonet"`` or ``"r2d2"``.
        inner_lr: rate of the inner steps.
        steps: K.
        order: 1 or 2.
        goal: ratio to the best peer that is wanted; 0 for none.
        quick: part of the two-minute run.
        compiled: strategies that compile and are tried; compiling takes seconds for a perceptron, minutes for a
            Conv4.
        own: makes metacortex's module of the same function and the same parameter names; ``None``: it takes
            ``network`` as it is.
        checked: makes a smaller network on which the gradients are compared; ``None``: ``network``.
        many: so much work that only the quickest contenders are worth timing.
        unroll: metacortex's choice for inner steps.
    """

    name: str
    network: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    learner: str = "maml"
    inner_lr: float = 0.1
    steps: int = 1
    order: int = 2
    goal: float = 0.0
    quick: bool = False
    compiled: tuple[str, ...] = ()
    own: Callable[[], nn.Module] | None = None
    checked: Callable[[], nn.Module] | None = None
    many: bool = False
    unroll: Literal["auto", "graph", "steps"] = "auto"

    def loss(self, prediction: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy for classes, squared error for values."""
        return F.mse_loss(prediction, targets) if targets.is_floating_point() else F.cross_entropy(prediction, targets)

    def to_check(self) -> Case:
        """The same with one task of few queries, on the network that is ``checked``."""

        def batch() -> Batch:
            b = self.batch()
            rows = slice(None, None, max(1, b.query.shape[1] // 15))
            return Batch(b.support[:1], b.support_targets[:1], b.query[:1, rows], b.query_targets[:1, rows])

        if self.checked is None:
            return replace(self, batch=batch)
        return replace(self, batch=batch, network=self.checked, own=None)


@dataclass(frozen=True)
class Contender:
    """A library, or a way to write it by hand.

    Attributes:
        name: printed.
        ours: whether it is metacortex.
        settings: at which it runs, in words.
        prepare: from case, network and batch to what is timed; raises `Unable`.
        one_thread: threads of its own share the tasks, so PyTorch's operations get one each.
        installed: as a program gets it that only imports PyTorch, without metacortex's setting of the allocator,
            which all others have; such rows are shown beside the ratio and do not enter it.
        rounded: in bfloat16; likewise.
    """

    name: str
    ours: bool
    settings: str
    prepare: Callable[[Case, nn.Module, Batch], Step]
    one_thread: bool = False
    installed: bool = False
    rounded: bool = False
