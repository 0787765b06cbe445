"""Adam as an inner update rule, safe to differentiate through."""

from __future__ import annotations

from typing import Any

import torch

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["Adam"]


class Adam(UpdateRule):
    """θ ← θ − α m̂ / √(v̂ + ε), with m, v running means of the gradient and its square.

    Args:
        lr: α, positive.
        betas: decay of m and of v, each in 0 … 1. With β₁ = 0 there is no momentum, as in Reptile.
        eps: ε, positive.

    Raises:
        SettingsError: for values out of range.

    *Differentiability*: ε stands inside the root, where PyTorch adds its own to the root, because the
    derivative of √v̂ is infinite at v̂ = 0. With this ε the step of a gradient much smaller than √ε is
    shorter than Adam's.

    Reference: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1.
    """

    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        super().__init__()
        if not lr > 0 or not eps > 0 or not all(0 <= beta < 1 for beta in betas):
            raise SettingsError(f"expected lr and eps above 0 and betas in 0 … 1, got {lr}, {eps} and {betas}")
        self.lr, self.betas, self.eps = lr, betas, eps

    def init(self, weights: Weights) -> Any:
        """Zero means ``m`` and ``v`` for each weight."""
        return {slot: {name: torch.zeros_like(w) for name, w in weights.items()} for slot in "mv"}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        first, second = self.betas
        m = {name: first * state["m"][name] + (1 - first) * g for name, g in gradients.items()}
        v = {name: second * state["v"][name] + (1 - second) * g * g for name, g in gradients.items()}
        a, b = 1 - first ** (step + 1), 1 - second ** (step + 1)
        new = {name: w - self.lr * (m[name] / a) / (v[name] / b + self.eps).sqrt() for name, w in weights.items()}
        return new, {"m": m, "v": v}
