"""Baseline++: a cosine head, trained on the support set over a body that was pre-trained with one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import unit
from metacortex.learners.metric.protonet import class_means
from metacortex.learners.transfer.base import FrozenBody
from metacortex.learners.transfer.baseline import Baseline, BaselineSettings
from metacortex.task import Examples

__all__ = ["BaselinePP", "BaselinePPSettings", "CosineHead"]


@dataclass(frozen=True)
class BaselinePPSettings(BaselineSettings):
    """Settings of `BaselinePP`.

    Attributes:
        scale: factor of the cosine in the logits, positive.
    """

    scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise SettingsError(f"scale must be positive, got {self.scale}")


class BaselinePP(Baseline):
    """logits_c(x) = s · cos(w_c, g_φ(x)), in pre-training too; the w_c descend the support loss.

    They start at the mean of the normalised support features of their class, where the paper draws them at random.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        tune_lr: see `BaselinePPSettings`, as the rest.
        tune_steps: gradient steps, with momentum 0.9 dampened by 0.9.
        weight_decay: of the w_c.
        norm: batch-norm policy.
        scale: s.

    Reference: Chen, Liu, Kira, Wang and Huang, "A Closer Look at Few-shot Classification", 2019, section 3.2;
    start: Qi, Brown and Lowe, "Low-Shot Learning with Imprinted Weights", 2018.
    """

    name: ClassVar[str] = "baseline_pp"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        tune_lr: float = 0.1,
        tune_steps: int = 100,
        weight_decay: float = 1e-3,
        norm: str = "running",
        scale: float = 10.0,
    ) -> None:
        BaselinePPSettings(tune_lr, tune_steps, weight_decay, norm, scale)  # type: ignore[arg-type]
        FrozenBody.__init__(self, model, features, train_classes, norm, partial(CosineHead, scale=scale))
        self.tune_lr, self.tune_steps, self.weight_decay = tune_lr, tune_steps, weight_decay
        self.scale = scale

    def start(self, features: Tensor, support: Examples) -> dict[str, Tensor]:
        """The class means of the normalised features."""
        return {"weight": class_means(unit(features), support)}

    def logits(self, head: State, features: Tensor) -> Tensor:
        """Scaled cosines ``[N, way]``."""
        return self.scale * unit(features) @ unit(head["weight"]).T

    def slopes(self, head: State, features: Tensor, residual: Tensor) -> dict[str, Tensor]:
        """The gradient in the directions of the w_c, without its part along them, over their lengths."""
        direction, weight = unit(head["weight"]), head["weight"]
        slope = self.scale * residual.T @ unit(features)
        along = (slope * direction).sum(-1, keepdim=True)
        return {"weight": (slope - along * direction) * torch.rsqrt((weight * weight).sum(-1, keepdim=True) + 1e-8)}


class CosineHead(nn.Module):
    """logits_c = scale · cos(w_c, x).

    Args:
        features: width of x.
        classes: number of logits.
        scale: of the cosine.
    """

    def __init__(self, features: int, classes: int, scale: float = 10.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.normal_(self.weight)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, D]`` to ``[N, classes]``."""
        return self.scale * unit(features) @ unit(self.weight).T
