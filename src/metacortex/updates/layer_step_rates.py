"""Learned learning rates, one for each weight tensor and inner step: LSLR of MAML++."""

from __future__ import annotations

from typing import Any

from torch import nn

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["LayerStepRates"]


class LayerStepRates(UpdateRule):
    """θ^l ← θ^l − α_{l,k} ∇_{θ^l} L(θ) in inner step k, with every α_{l,k} learned.

    Args:
        weights: the weights that will be updated, by name; their values are not used.
        lr: what every α begins with, positive.
        steps: inner steps with rates of their own, at least 1; later ones take those of the last.

    Raises:
        SettingsError: if ``lr`` is not positive or ``steps`` is below 1.

    Example:
        >>> import torch
        >>> LayerStepRates({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, 0.1, 5).rates.shape
        torch.Size([2, 5])

    Reference: Antoniou, Edwards and Storkey, "How to Train Your MAML", 2019, section 4, "Learning
    Per-Layer Per-Step Learning Rates". As in the authors' code a layer's weight and bias have
    rates of their own.
    """

    def __init__(self, weights: Weights, lr: float, steps: int) -> None:
        super().__init__()
        if not lr > 0 or steps < 1:
            raise SettingsError(f"inner_lr must be positive and steps at least 1, got {lr} and {steps}")
        self.rows = {name: i for i, name in enumerate(weights)}
        like = next(iter(weights.values()))
        self.rates = nn.Parameter(like.detach().new_full((len(weights), steps), lr))  # [tensors, steps]

    def init(self, weights: Weights) -> Any:
        """No state."""
        return {}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        rates = self.rates[:, min(step, self.rates.shape[1] - 1)]
        return {name: w - rates[self.rows[name]] * gradients[name] for name, w in weights.items()}, state
