"""BOIL: adapt the body alone, so that the features change and the head stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import OuterSettings
from metacortex.updates.sgd import SGD

__all__ = ["BOIL", "BOILSettings"]


@dataclass(frozen=True)
class BOILSettings(OuterSettings):
    """Settings of `BOIL`, see `OuterSettings`."""


class BOIL(GradientLearner):
    """MAML that adapts every weight but those of the head: b' = b − α ∇_b L_T(b, h), with h as it is.

    The head is learned in the outer loop. It must not begin at zero, where no gradient passes it
    and nothing is adapted.

    Args:
        model: any module from inputs to ``[N, outputs]``; its head is found as `select` says.
        inner_lr: α.
        inner_steps: steps while meta-training.
        choices: the other choices of `GradientLearner` but ``adapt``: ``order``, ``eval_steps``, ``norm`` …

    Example:
        >>> import torch
        >>> BOIL(torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(2, 2))).adapted
        ('0.weight',)

    Reference: Oh, Yoo, Kim and Yun, "BOIL: Towards Representation Change for Few-shot Learning",
    2021, section 3. The paper sets the head's inner rate to zero, which is the same.
    """

    name: ClassVar[str] = "boil"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(self, model: nn.Module, inner_lr: float = 0.5, inner_steps: int = 1, **choices: Any) -> None:
        super().__init__(model, SGD(inner_lr), inner_steps=inner_steps, adapt="body", **choices)
