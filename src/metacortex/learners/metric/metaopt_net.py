"""MetaOptNet: a multi-class support vector machine on the support features, solved inside the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.convex import support_vectors
from metacortex.learners.features import check_norm, members
from metacortex.learners.metric.linear import LinearLearner, positive
from metacortex.task import Examples

__all__ = ["MetaOptNet", "MetaOptNetSettings"]


@dataclass(frozen=True)
class MetaOptNetSettings:
    """Settings of `MetaOptNet`.

    Attributes:
        bound: C of the support vector machine, positive.
        scale: initial factor of the logits, positive; learned.
        iterations: interior point steps.
        norm: batch-norm policy.
    """

    bound: float = 0.1
    scale: float = 10.0
    iterations: int = 25
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        positive("bound", self.bound)
        positive("scale", self.scale)
        if self.iterations < 1:
            raise SettingsError(f"iterations must be at least 1, got {self.iterations}")
        check_norm("metaopt_net", self.norm)


class MetaOptNet(LinearLearner):
    """logits_k(x) = s · g_φ(x) w_k,  w = argmin ½ Σ_k ‖w_k‖² + C Σ_n ξ_n,  φ: the body and s

    subject to w_{y_n} x_n − w_k x_n ≥ 1 − [k = y_n] − ξ_n for all n, k (Crammer and Singer's machine, no
    intercept). The quadratic program is solved in its dual by an interior point method of a fixed number of
    steps; the gradient is that of the solution, from its KKT conditions. The paper adds the identity to the Gram
    matrix for its solver's sake and starts from s = 1; here nothing is added.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        bound: C.
        scale: initial s.
        iterations: interior point steps.
        norm: batch-norm policy.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> float(MetaOptNet(torch.nn.Identity()).loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0

    Reference: Lee, Maji, Ravichandran and Soatto, "Meta-Learning with Differentiable Convex Optimization",
    2019, equations 3 to 6.
    """

    name: ClassVar[str] = "metaopt_net"

    def __init__(
        self,
        model: nn.Module,
        bound: float = 0.1,
        scale: float = 10.0,
        iterations: int = 25,
        norm: str = "running",
    ) -> None:
        MetaOptNetSettings(bound, scale, iterations, norm)  # type: ignore[arg-type]
        super().__init__(model, norm, scale, intercept=False)
        self.bound, self.iterations = bound, iterations

    def solve(self, features: Tensor, support: Examples) -> Tensor:
        """The weights of the support vector machine."""
        targets = members(support, features)
        return support_vectors(features, targets, self.bound, live=support.classes, iterations=self.iterations)
