"""Meta-SGD: learn the initial weights and a learning rate for every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import GradientSettings
from metacortex.updates.meta_sgd import ElementwiseRates

__all__ = ["MetaSGD", "MetaSGDSettings"]


@dataclass(frozen=True)
class MetaSGDSettings(GradientSettings):
    """Settings of `MetaSGD`, see `GradientSettings`."""


class MetaSGD(GradientLearner):
    """f_φ(T) = θ − α ⊙ ∇L_T(θ), repeated ``inner_steps`` times; φ = (θ, α), α of the shape of θ.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: what every element of α begins with.
        inner_steps: steps while meta-training.
        choices: the other choices of `GradientLearner`: ``order``, ``eval_steps``, ``adapt``, ``norm`` …

    Example:
        >>> import torch
        >>> sorted(MetaSGD(torch.nn.Linear(2, 2, bias=False)).meta_parameters())
        ['body.model.weight', 'rule.rates.weight']

    Reference: Li, Zhou, Chen and Li, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning",
    2017, algorithm 1.
    """

    name: ClassVar[str] = "meta_sgd"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(self, model: nn.Module, inner_lr: float = 0.4, inner_steps: int = 1, **choices: Any) -> None:
        super().__init__(model, partial(ElementwiseRates, lr=inner_lr), inner_steps=inner_steps, **choices)
