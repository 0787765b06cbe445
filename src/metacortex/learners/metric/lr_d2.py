"""LR-D2: logistic regression on the support features, solved by Newton's method inside the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.convex import softmax_regression
from metacortex.learners.features import check_norm, members
from metacortex.learners.metric.linear import LinearLearner, positive
from metacortex.task import Examples

__all__ = ["LRD2", "LRD2Settings"]


@dataclass(frozen=True)
class LRD2Settings:
    """Settings of `LRD2`.

    Attributes:
        penalty: initial λ, positive; learned.
        scale: initial factor of the logits, positive; learned.
        iterations: Newton steps.
        intercept: fit an intercept.
        norm: batch-norm policy.
    """

    penalty: float = 1.0
    scale: float = 10.0
    iterations: int = 12
    intercept: bool = True
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        positive("penalty", self.penalty)
        positive("scale", self.scale)
        if self.iterations < 1:
            raise SettingsError(f"iterations must be at least 1, got {self.iterations}")
        check_norm("lr_d2", self.norm)


class LRD2(LinearLearner):
    """logits(x) = s · g_φ(x) W,  W = argmin Σ_n −log softmax(x_n W)[y_n] + λ/2 ‖W‖²;  φ: the body, λ and s.

    The paper differentiates through the steps of a two-class solver; here any number of classes are solved for
    together, and the derivative is taken at the solution (see `metacortex.learners.convex`). With two
    classes it is the paper's problem for the difference of the two weight vectors, with half the λ.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        penalty: initial λ.
        scale: initial s.
        iterations: Newton steps; too few give a W, and a gradient, that are not those of the solution.
        intercept: add a feature that is always one.
        norm: batch-norm policy.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> float(LRD2(torch.nn.Identity()).loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0

    Reference: Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form
    solvers", 2019, section 3.3 (equations 7 and 8).
    """

    name: ClassVar[str] = "lr_d2"

    def __init__(
        self,
        model: nn.Module,
        penalty: float = 1.0,
        scale: float = 10.0,
        iterations: int = 12,
        intercept: bool = True,
        norm: str = "running",
    ) -> None:
        LRD2Settings(penalty, scale, iterations, intercept, norm)  # type: ignore[arg-type]
        super().__init__(model, norm, scale, intercept)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.iterations = iterations

    def solve(self, features: Tensor, support: Examples) -> Tensor:
        """The weights of the regularised logistic regression."""
        return softmax_regression(
            features,
            members(support, features),
            self.log_penalty.exp(),
            live=support.classes,
            iterations=self.iterations,
        )
