"""Metric learners whose answer to a task is a linear model, solved for exactly on its features."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import class_slots, real, with_ones
from metacortex.learners.metric.base import MetricLearner
from metacortex.learners.objective import Objective, hide_padding
from metacortex.task import Examples

__all__ = ["LinearLearner", "positive"]


def positive(name: str, value: float) -> None:
    """Refuse a setting that is not above zero.

    Raises:
        SettingsError: naming the setting.
    """
    if not value > 0:
        raise SettingsError(f"{name} must be positive, got {value}")


class LinearLearner(MetricLearner):
    """prediction = s · g_φ(x) W(T), W the solution of a convex problem on the support features.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        norm: batch-norm policy.
        scale: initial value of s, which is learned (as log s).
        intercept: add a feature that is always one; its weights are penalised as the others are.
        objective: loss, cross-entropy by default.
    """

    train_way: ClassVar[int | None] = 20
    train_queries: ClassVar[int | None] = 5
    train_tasks: ClassVar[int] = 2
    default_lr: ClassVar[float] = 2e-3

    def __init__(
        self, model: nn.Module, norm: str, scale: float, intercept: bool, objective: Objective | None = None
    ) -> None:
        super().__init__(model, norm)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.intercept = intercept
        if objective is not None:
            self.objective = objective

    @abstractmethod
    def solve(self, features: Tensor, support: Examples) -> Tensor:
        """W ``[D, way]`` for features ``[N, D]`` whose padding rows are zero."""

    def fit(self, features: Tensor, support: Examples) -> State:
        """``weights`` W ``[D, way]`` (one row more with an intercept) and, for classification, ``classes``."""
        x = self._extended(features) * real(support, features)[:, None]
        return {"weights": self.solve(x, support), **class_slots(support)}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]``."""
        scores = self.log_scale.exp() * (self._extended(features) @ state["weights"])
        return hide_padding(scores, state.get("classes"))

    def _extended(self, features: Tensor) -> Tensor:
        return with_ones(features) if self.intercept else features
