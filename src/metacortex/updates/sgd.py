"""Plain gradient descent, the update rule of MAML."""

from __future__ import annotations

from typing import Any

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["SGD"]


class SGD(UpdateRule):
    """θ ← θ − α ∇L(θ), with α = ``lr`` fixed.

    Args:
        lr: the inner learning rate α, positive.

    Raises:
        SettingsError: if ``lr`` is not positive.

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", 2017, equation 1.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        if not lr > 0:
            raise SettingsError(f"inner_lr must be positive, got {lr}")
        self.lr = lr

    def init(self, weights: Weights) -> Any:
        """No state."""
        return {}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        return {name: w - self.lr * gradients[name] for name, w in weights.items()}, state
