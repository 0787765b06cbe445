"""Nearest neighbour on the features of a pre-trained body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm, unit
from metacortex.learners.transfer.base import FrozenBody
from metacortex.learners.transfer.nearest_neighbour import keep_examples, nearest_logits
from metacortex.task import Examples

__all__ = ["KNN", "KNNSettings"]


@dataclass(frozen=True)
class KNNSettings:
    """Settings of `KNN`.

    Attributes:
        neighbours: examples of each class that count.
        distance: ``"cosine"`` or ``"euclid"``.
        scale: factor of the distance in the logits, positive; changes probabilities, not the answer.
        norm: batch-norm policy.
    """

    neighbours: int = 1
    distance: Literal["cosine", "euclid"] = "cosine"
    scale: float = 10.0
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise SettingsError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.distance not in ("cosine", "euclid"):
            raise SettingsError(f"distance must be 'cosine' or 'euclid', got '{self.distance}'")
        if not self.scale > 0:
            raise SettingsError(f"scale must be positive, got {self.scale}")
        check_norm("knn", self.norm)


class KNN(FrozenBody):
    """logit of class c = −s · mean ‖g(x) − g(x_i)‖² over the k nearest support examples of class c; g: the frozen body.

    With k = 1 that is the nearest neighbour rule. For ``"cosine"`` g is divided by its length, so that
    the squared distance is 2 − 2 cos.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        neighbours: k.
        distance: ``"cosine"`` or ``"euclid"``.
        scale: s.
        norm: batch-norm policy.

    Reference: Cover and Hart, "Nearest Neighbor Pattern Classification", 1967; per class: Mitani and Hamamoto,
    "A local mean-based nonparametric classifier", 2006 (there the distance to the mean of the k).
    """

    name: ClassVar[str] = "knn"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        neighbours: int = 1,
        distance: str = "cosine",
        scale: float = 10.0,
        norm: str = "running",
    ) -> None:
        KNNSettings(neighbours, distance, scale, norm)  # type: ignore[arg-type]
        super().__init__(model, features, train_classes, norm)
        self.neighbours, self.distance, self.scale = neighbours, distance, scale

    def fit(self, features: Tensor, support: Examples) -> State:
        """``examples`` ``[N, D]``, ``members`` ``[N, way]`` and ``classes``."""
        return keep_examples(self._scaled(features), support)

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``."""
        return nearest_logits(state, self._scaled(features), self.neighbours)

    def _scaled(self, features: Tensor) -> Tensor:
        return self.scale**0.5 * (unit(features) if self.distance == "cosine" else features)
