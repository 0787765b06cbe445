"""A learned transformation of the gradient, the update rule of Meta-Curvature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.updates.base import UpdateRule, Weights, parameter_key

__all__ = ["Curvature"]


class Curvature(UpdateRule):
    """θ ← θ − α MC(∇L(θ)) with MC(G) = G ×₃ M_f ×₂ M_i ×₁ M_o and learned M_o, M_i, M_f.

    ×_n multiplies along the n-th axis of a weight ``[outputs, inputs, everything else]``: M_o mixes
    the gradients of the outputs, M_i those of the inputs, M_f those within a filter. A matrix has
    the first two, a vector only M_o. All begin as identities, so the rule begins as SGD.

    Args:
        weights: the weights that will be updated, by name; their values are not used.
        lr: α, positive.

    Raises:
        SettingsError: if ``lr`` is not positive.

    Example:
        >>> rule = Curvature({"weight": torch.zeros(4, 3, 2, 2)}, 0.1)
        >>> [list(m.shape) for m in rule.parameters()]
        [[4, 4], [3, 3], [4, 4]]

    Reference: Park and Oliva, "Meta-Curvature", 2019, section 3.
    """

    def __init__(self, weights: Weights, lr: float) -> None:
        super().__init__()
        if not lr > 0:
            raise SettingsError(f"inner_lr must be positive, got {lr}")
        self.lr = lr
        self.matrices = nn.ParameterDict()
        for name, weight in weights.items():
            for axis, size in enumerate(_folded(weight.detach()).shape):
                eye = torch.eye(size, dtype=weight.dtype, device=weight.device)
                self.matrices[_key(name, axis)] = nn.Parameter(eye)

    def init(self, weights: Weights) -> Any:
        """No state."""
        return {}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`."""
        return {name: w - self.lr * self.transformed(name, gradients[name]) for name, w in weights.items()}, state

    def transformed(self, name: str, gradient: Tensor) -> Tensor:
        """MC(G) of one weight's gradient, in its shape."""
        tensor = _folded(gradient)
        for axis in range(tensor.dim()):
            rows = tensor.movedim(axis, 0)
            mixed = self.matrices[_key(name, axis)] @ rows.reshape(rows.shape[0], -1)
            tensor = mixed.reshape(rows.shape).movedim(0, axis)
        return tensor.reshape(gradient.shape)


def _folded(weight: Tensor) -> Tensor:
    """The tensor with one to three axes: ``[outputs, inputs, everything else]``."""
    return weight.flatten(2) if weight.dim() > 2 else weight.reshape(1) if weight.dim() == 0 else weight


def _key(name: str, axis: int) -> str:
    return f"{parameter_key(name)}:{axis}"
