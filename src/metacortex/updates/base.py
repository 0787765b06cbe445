"""The protocol of inner update rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

__all__ = ["UpdateRule", "Weights", "parameter_key"]

Weights = dict[str, Tensor]


class UpdateRule(nn.Module, ABC):
    """Maps gradients to new fast weights; what it learns are its own parameters.

    A rule is a pure function of its arguments and its parameters, made of differentiable
    operations, so that meta-gradients pass through it.
    """

    @abstractmethod
    def init(self, weights: Weights) -> Any:
        """The rule's state before the first inner step: a pytree of tensors (possibly empty)."""

    @abstractmethod
    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """One inner step.

        Args:
            gradients: gradient of the support loss for each fast weight.
            state: what `init` or the last `update` returned.
            weights: the fast weights.
            step: number of the inner step, from 0.

        Returns:
            The new fast weights and the new state.
        """


def parameter_key(name: str) -> str:
    """A weight's name as a key of a rule's own parameters, which may not hold dots.

    Example:
        >>> parameter_key("backbone.norms.0.weight")
        'backbone/norms/0/weight'
    """
    return name.replace(".", "/")
