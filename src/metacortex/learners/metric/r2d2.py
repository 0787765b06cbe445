"""R2-D2: ridge regression on the support features, solved in closed form inside the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.learners.base import State
from metacortex.learners.convex import ridge
from metacortex.learners.features import check_norm, target_matrix
from metacortex.learners.metric.linear import LinearLearner, positive
from metacortex.learners.objective import Objective, hide_padding
from metacortex.task import Examples

__all__ = ["R2D2", "R2D2Settings"]


@dataclass(frozen=True)
class R2D2Settings:
    """Settings of `R2D2`.

    Attributes:
        ridge: initial λ, positive; learned.
        scale: initial factor of the logits, positive; learned. 0 means 10 for classification and 1
            for regression.
        intercept: fit an intercept.
        norm: batch-norm policy.
    """

    ridge: float = 1.0
    scale: float = 0.0
    intercept: bool = True
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        positive("ridge", self.ridge)
        positive("scale", self.scale or 1.0)
        check_norm("r2d2", self.norm)


class R2D2(LinearLearner):
    """ŷ(x) = s · g_φ(x) W + b,  W = Xᵀ (X Xᵀ + λ I)⁻¹ Y;  φ: the body, λ, s and b.

    X are the support features, Y their one-hot classes or, for regression, their targets. λ and s are learned
    as logarithms. Cross-entropy does not feel b, which adds the same to each class.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        ridge: initial λ.
        scale: initial s; 0 for the default.
        intercept: add a feature that is always one.
        norm: batch-norm policy.
        objective: cross-entropy by default; `metacortex.learners.objective.MeanSquaredError` for regression.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> learner = R2D2(torch.nn.Identity(), ridge=1.0, intercept=False)
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> learner.adapt(Task.classification(x, y, x, y).support)["weights"].tolist()
        [[0.5, 0.0], [0.0, 0.5]]

    Reference: Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form
    solvers", 2019, equations 4 to 6 (where the samples are columns and s, b are α, β).
    """

    name: ClassVar[str] = "r2d2"

    def __init__(
        self,
        model: nn.Module,
        ridge: float = 1.0,
        scale: float = 0.0,
        intercept: bool = True,
        norm: str = "running",
        objective: Objective | None = None,
    ) -> None:
        R2D2Settings(ridge, scale, intercept, norm)  # type: ignore[arg-type]
        by_default = 10.0 if objective is None or objective.higher_is_better else 1.0
        super().__init__(model, norm, scale or by_default, intercept, objective)
        self.log_ridge = nn.Parameter(torch.tensor(math.log(ridge)))
        self.bias = nn.Parameter(torch.zeros(()))

    def solve(self, features: Tensor, support: Examples) -> Tensor:
        """Equation 6; by the system of size D where there are more examples than features."""
        return ridge(features, target_matrix(support, features), self.log_ridge.exp())

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]``."""
        return hide_padding(super().compare(state, features) + self.bias, state.get("classes"))
