"""What is compared: one network, one batch of tasks, one way to adapt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Batch", "Case", "Contender", "Gradients", "Step", "Unable"]

Gradients = dict[str, Tensor]
"""Mean meta-gradient of the tasks by the network's parameter names."""

Step = Callable[[], Gradients]


class Unable(Exception):
    """A contender cannot do a case; the message says why."""


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
        network: makes the network; its parts are ``backbone`` and ``head``.
        batch: makes the tasks, float32.
        learner: ``"maml"``, ``"anil"`` or ``"protonet"``.
        inner_lr: rate of the inner steps.
        steps: K.
        order: 1 or 2.
        goal: ratio to the best peer that is wanted; 0 for none.
        quick: part of the two-minute run.
        small: compiling takes seconds, so that the quick run does it too.
        check_tasks: tasks on which the gradients are compared in float64.
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
    small: bool = False
    check_tasks: int = 2

    def loss(self, prediction: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy for classes, squared error for values."""
        return F.mse_loss(prediction, targets) if targets.is_floating_point() else F.cross_entropy(prediction, targets)


@dataclass(frozen=True)
class Contender:
    """A library, or a way to write it by hand.

    Attributes:
        name: printed.
        ours: whether it is metacortex.
        settings: at which it runs, in words.
        prepare: from case, network and batch to what is timed; raises `Unable`.
    """

    name: str
    ours: bool
    settings: str
    prepare: Callable[[Case, nn.Module, Batch], Step]
