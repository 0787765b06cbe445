"""Baseline: a linear head, trained on the support set over a frozen body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm, members
from metacortex.learners.objective import hide_padding
from metacortex.learners.transfer.base import FrozenBody
from metacortex.task import Examples

__all__ = ["Baseline", "BaselineSettings"]

_MOMENTUM = 0.9
"""Of the head's descent, dampened by as much, as in the paper's code."""


@dataclass(frozen=True)
class BaselineSettings:
    """Settings of `Baseline`.

    Attributes:
        tune_lr: learning rate of the head, positive.
        tune_steps: gradient steps on the whole support set.
        weight_decay: not negative.
        norm: batch-norm policy.
    """

    tune_lr: float = 0.1
    tune_steps: int = 100
    weight_decay: float = 1e-3
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if not self.tune_lr > 0:
            raise SettingsError(f"tune_lr must be positive, got {self.tune_lr}")
        if self.tune_steps < 0 or self.weight_decay < 0:
            raise SettingsError(
                f"tune_steps and weight_decay must not be negative, got {self.tune_steps}, {self.weight_decay}"
            )
        check_norm("baseline", self.norm)


class Baseline(FrozenBody):
    """logits(x) = W g_φ(x) + b; W and b descend the support loss from zero, g_φ stays as pre-trained.

    The paper shuffles the support set into batches of four and starts from random weights; here all
    examples count in each step and the start is zero, so that the answer is a function of the task.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        tune_lr: see `BaselineSettings`, as the rest.
        tune_steps: gradient steps, with momentum 0.9 dampened by 0.9.
        weight_decay: of W and b.
        norm: batch-norm policy.

    Reference: Chen, Liu, Kira, Wang and Huang, "A Closer Look at Few-shot Classification", 2019, section 3.2.
    """

    name: ClassVar[str] = "baseline"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        tune_lr: float = 0.1,
        tune_steps: int = 100,
        weight_decay: float = 1e-3,
        norm: str = "running",
    ) -> None:
        BaselineSettings(tune_lr, tune_steps, weight_decay, norm)  # type: ignore[arg-type]
        super().__init__(model, features, train_classes, norm)
        self.tune_lr, self.tune_steps, self.weight_decay = tune_lr, tune_steps, weight_decay

    def fit(self, features: Tensor, support: Examples) -> State:
        """The trained head, ``weight`` ``[way, D]`` and ``bias`` ``[way]``, and ``classes``."""
        targets = members(support, features)
        share = targets / targets.sum().clamp_min(1)  # [N, way]: each real example counts the same
        head = self.start(features, support)
        pull: dict[str, Tensor] = {}
        for step in range(self.tune_steps):
            logits = hide_padding(self.logits(head, features), support.classes)
            residual = logits.softmax(-1) * share.sum(1, keepdim=True) - share  # dL/dlogits
            slopes = self.slopes(head, features, residual)
            for name, weight in head.items():
                slope = slopes[name] + self.weight_decay * weight
                pull[name] = slope if step == 0 else _MOMENTUM * pull[name] + (1 - _MOMENTUM) * slope
            head = {name: weight - self.tune_lr * pull[name] for name, weight in head.items()}
        return {**head, "classes": support.classes}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``."""
        return hide_padding(self.logits(state, features), state["classes"])

    def start(self, features: Tensor, support: Examples) -> dict[str, Tensor]:
        """The head before its first step."""
        return {
            "weight": features.new_zeros(support.way, features.shape[1]),
            "bias": features.new_zeros(support.way),
        }

    def logits(self, head: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` of a head, padding slots included."""
        return F.linear(features, head["weight"], head["bias"])

    def slopes(self, head: State, features: Tensor, residual: Tensor) -> dict[str, Tensor]:
        """Gradient in the head's weights where ``residual`` ``[N, way]`` is that in the logits."""
        return {"weight": residual.T @ features, "bias": residual.sum(0)}
