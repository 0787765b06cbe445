"""Gradient descent that stays near where it began, the inner solver of iMAML."""

from __future__ import annotations

from typing import Any

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["ProximalSGD"]


class ProximalSGD(UpdateRule):
    """θ ← θ − α (∇L(θ) + λ (θ − θ_0)): descends L(θ) + λ/2 ‖θ − θ_0‖².

    Args:
        lr: α, positive.
        strength: λ, not negative.

    Raises:
        SettingsError: for values out of range.

    Reference: Rajeswaran, Finn, Kakade and Levine, "Meta-Learning with Implicit Gradients", 2019,
    equation 3.
    """

    def __init__(self, lr: float, strength: float) -> None:
        super().__init__()
        if not lr > 0 or not strength >= 0:
            raise SettingsError(f"inner_lr must be positive and strength not negative, got {lr} and {strength}")
        self.lr, self.strength = lr, strength

    def init(self, weights: Weights) -> Any:
        """The weights to stay near to, θ_0."""
        return dict(weights)

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        new = {name: w - self.lr * (gradients[name] + self.strength * (w - state[name])) for name, w in weights.items()}
        return new, state
