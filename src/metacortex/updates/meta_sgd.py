"""A learned learning rate for every single weight, the update rule of Meta-SGD."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights, parameter_key

__all__ = ["ElementwiseRates"]


class ElementwiseRates(UpdateRule):
    """θ ← θ − α ⊙ ∇L(θ), with α of the shape of θ learned: direction and length of the step.

    α is not held positive: where meta-training finds it useful a weight moves up its gradient.

    Args:
        weights: the weights that will be updated, by name; their values are not used.
        lr: what every element of α begins with, positive.

    Raises:
        SettingsError: if ``lr`` is not positive.

    Example:
        >>> rule = ElementwiseRates({"w": torch.zeros(2)}, 0.5)
        >>> rule.update({"w": torch.ones(2)}, rule.init({}), {"w": torch.ones(2)}, 0)[0]["w"].tolist()
        [0.5, 0.5]

    Reference: Li, Zhou, Chen and Li, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning",
    2017, section 3.1. The paper draws the first α at random; here it is a constant.
    """

    def __init__(self, weights: Weights, lr: float) -> None:
        super().__init__()
        if not lr > 0:
            raise SettingsError(f"inner_lr must be positive, got {lr}")
        self.rates = nn.ParameterDict(
            {parameter_key(name): nn.Parameter(torch.full_like(w, lr)) for name, w in weights.items()}
        )

    def init(self, weights: Weights) -> Any:
        """No state."""
        return {}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        return {name: w - self.rates[parameter_key(name)] * gradients[name] for name, w in weights.items()}, state
