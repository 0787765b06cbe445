"""Linear systems with a matrix that is only known by its products: conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metacortex.tree import tree_leaves, tree_map
from metacortex.updates.base import Weights

__all__ = ["conjugate_gradients"]


def conjugate_gradients(product: Callable[[Weights], Weights], target: Weights, steps: int) -> Weights:
    """Solve A x = b for symmetric positive definite A, starting from x = 0.

    Exact after as many steps as A has distinct eigenvalues. The number of steps is fixed, so that the
    call goes through ``vmap``; steps after the solution is reached change nothing.

    Args:
        product: maps a vector v to A v; vectors are tensors by name.
        target: b.
        steps: how many products are taken, at least 0.

    Returns:
        x, tensors by name.

    Example:
        >>> a, b = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 8.0])
        >>> x = conjugate_gradients(lambda v: {"x": a * v["x"]}, {"x": b}, 2)["x"]
        >>> [round(value, 4) for value in x.tolist()]
        [2.0, 2.0]

    Reference: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
    """
    x = tree_map(torch.zeros_like, target)
    residual, direction = target, target
    length = _dot(residual, residual)
    for _ in range(steps):
        mapped = product(direction)
        size = _ratio(length, _dot(direction, mapped))
        x = _plus(x, size, direction)
        residual = _plus(residual, -size, mapped)
        new = _dot(residual, residual)
        direction = _plus(residual, _ratio(new, length), direction)
        length = new
    return x


def _dot(a: Weights, b: Weights) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)]).sum()


def _plus(a: Weights, scale: Tensor, b: Weights) -> Weights:
    return {name: x + scale * b[name] for name, x in a.items()}


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and zero where b is: the solution is reached."""
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, torch.ones_like(b), b))
