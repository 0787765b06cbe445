"""Linear probe: regularised logistic regression on the features of a pre-trained body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.convex import softmax_regression
from metacortex.learners.features import check_norm, members, real, unit, with_ones
from metacortex.learners.objective import hide_padding
from metacortex.learners.transfer.base import FrozenBody
from metacortex.task import Examples

__all__ = ["LinearProbe", "LinearProbeSettings"]


@dataclass(frozen=True)
class LinearProbeSettings:
    """Settings of `LinearProbe`.

    Attributes:
        penalty: λ, positive.
        normalise: divide features by their length first.
        iterations: Newton steps.
        norm: batch-norm policy.
    """

    penalty: float = 1.0
    normalise: bool = True
    iterations: int = 12
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise SettingsError(f"penalty must be positive, got {self.penalty}")
        if self.iterations < 1:
            raise SettingsError(f"iterations must be at least 1, got {self.iterations}")
        check_norm("linear_probe", self.norm)


class LinearProbe(FrozenBody):
    """logits(x) = g(x) W,  W = argmin Σ_n −log softmax(g(x_n) W)[y_n] + λ/2 ‖W‖²;  g: the frozen body.

    g ends with a feature that is always one, whose weights are penalised as the others are.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        penalty: λ.
        normalise: divide features by their length first.
        iterations: Newton steps, see `metacortex.learners.convex.softmax_regression`.
        norm: batch-norm policy.

    Reference: Tian, Wang, Krishnan, Tenenbaum and Isola, "Rethinking Few-Shot Image Classification: a Good
    Embedding Is All You Need?", 2020, equation 5 (there by L-BFGS).
    """

    name: ClassVar[str] = "linear_probe"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        penalty: float = 1.0,
        normalise: bool = True,
        iterations: int = 12,
        norm: str = "running",
    ) -> None:
        LinearProbeSettings(penalty, normalise, iterations, norm)  # type: ignore[arg-type]
        super().__init__(model, features, train_classes, norm)
        self.penalty, self.normalise, self.iterations = penalty, normalise, iterations

    def fit(self, features: Tensor, support: Examples) -> State:
        """``weights`` W ``[D + 1, way]`` and ``classes``."""
        x = self._extended(features) * real(support, features)[:, None]
        weights = softmax_regression(
            x, members(support, x), self.penalty, live=support.classes, iterations=self.iterations
        )
        return {"weights": weights, "classes": support.classes}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``."""
        return hide_padding(self._extended(features) @ state["weights"], state["classes"])

    def _extended(self, features: Tensor) -> Tensor:
        return with_ones(unit(features) if self.normalise else features)
