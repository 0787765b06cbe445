"""Meta-Curvature: learn the initial weights and how gradients are transformed before a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import GradientSettings
from metacortex.updates.meta_curvature import Curvature

__all__ = ["MetaCurvature", "MetaCurvatureSettings"]


@dataclass(frozen=True)
class MetaCurvatureSettings(GradientSettings):
    """Settings of `MetaCurvature`, see `GradientSettings`."""


class MetaCurvature(GradientLearner):
    """f_φ(T) = θ − α MC(∇L_T(θ)), repeated ``inner_steps`` times; φ = (θ, the matrices of MC).

    MC is linear in the gradient, see `metacortex.updates.meta_curvature.Curvature`; it has n² numbers
    for each axis of length n of a weight.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: α.
        inner_steps: steps while meta-training.
        choices: the other choices of `GradientLearner`: ``order``, ``eval_steps``, ``adapt``, ``norm`` …

    Example:
        >>> import torch
        >>> sorted(MetaCurvature(torch.nn.Linear(2, 3, bias=False)).meta_parameters())
        ['body.model.weight', 'rule.matrices.weight:0', 'rule.matrices.weight:1']

    Reference: Park and Oliva, "Meta-Curvature", 2019, section 3.
    """

    name: ClassVar[str] = "meta_curvature"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(self, model: nn.Module, inner_lr: float = 0.4, inner_steps: int = 1, **choices: Any) -> None:
        super().__init__(model, partial(Curvature, lr=inner_lr), inner_steps=inner_steps, **choices)
