"""SimpleShot: the nearest class mean among centred, normalised features of a pre-trained body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm, real, unit
from metacortex.learners.metric.protonet import class_means, squared_distances
from metacortex.learners.objective import hide_padding
from metacortex.learners.transfer.base import FrozenBody
from metacortex.task import Examples

__all__ = ["SimpleShot", "SimpleShotSettings"]

_FLOOR = 0.01
"""Least weight of a batch in the running mean, so that features of long ago are forgotten."""


@dataclass(frozen=True)
class SimpleShotSettings:
    """Settings of `SimpleShot`.

    Attributes:
        transform: ``"cl2n"`` (subtract the mean of the training features, divide by the length), ``"l2n"``
            (divide by the length) or ``"un"`` (neither).
        scale: factor of the distance in the logits, positive; changes probabilities, not the answer.
        norm: batch-norm policy.
    """

    transform: Literal["cl2n", "l2n", "un"] = "cl2n"
    scale: float = 10.0
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.transform not in ("cl2n", "l2n", "un"):
            raise SettingsError(f"transform must be 'cl2n', 'l2n' or 'un', got '{self.transform}'")
        if not self.scale > 0:
            raise SettingsError(f"scale must be positive, got {self.scale}")
        check_norm("simple_shot", self.norm)


class SimpleShot(FrozenBody):
    """logit of class c = −s · ‖z(x) − m_c‖²,  z(x) = (g(x) − ḡ) / ‖g(x) − ḡ‖;  g: the frozen body.

    m_c is the mean of z over the support examples of class c, ḡ the mean feature of the meta-training set. It is
    kept in a buffer: the mean of the batches seen so far, from 100 batches on a running one in which each counts
    for 1 %, because features move while the body is trained.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        transform: ``"cl2n"``, ``"l2n"`` or ``"un"``.
        scale: s.
        norm: batch-norm policy.

    Reference: Wang, Chao, Weinberger and van der Maaten, "SimpleShot: Revisiting Nearest-Neighbor
    Classification for Few-Shot Learning", 2019, section 3.
    """

    name: ClassVar[str] = "simple_shot"
    feature_mean: Tensor
    feature_batches: Tensor

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        transform: str = "cl2n",
        scale: float = 10.0,
        norm: str = "running",
    ) -> None:
        SimpleShotSettings(transform, scale, norm)  # type: ignore[arg-type]
        super().__init__(model, features, train_classes, norm)
        self.transform, self.scale = transform, scale
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_batches", torch.zeros(()))

    def observed(self, features: Tensor, examples: Examples) -> dict[str, Tensor]:
        """The mean feature with one more batch counted."""
        weights = real(examples, features) / real(examples, features).sum().clamp_min(1)
        count = self.feature_batches + 1
        mean = (weights @ features).detach().to(self.feature_mean.dtype)
        share = (1 / count).clamp_min(_FLOOR)
        return {
            "feature_mean": self.feature_mean + share * (mean - self.feature_mean),
            "feature_batches": count,
        }

    def fit(self, features: Tensor, support: Examples) -> State:
        """``means`` ``[way, D]`` and ``classes``."""
        return {"means": class_means(self._transformed(features), support), "classes": support.classes}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``."""
        distances = squared_distances(self._transformed(features), state["means"])
        return hide_padding(-self.scale * distances, state["classes"])

    def _transformed(self, features: Tensor) -> Tensor:
        if self.transform == "un":
            return features
        return unit(features - self.feature_mean if self.transform == "cl2n" else features)
