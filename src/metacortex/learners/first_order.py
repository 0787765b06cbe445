"""A gradient that nobody differentiates again, in the quickest way that the surroundings allow.

`torch.func.grad` always records its backward pass for a further derivative. For a fused LSTM that costs
about two thirds more time than plain automatic differentiation, which cannot be used under ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from metacortex.nn.norm import fusing
from metacortex.tree import tree_map

__all__ = ["first_order_gradient"]


def first_order_gradient(
    function: Callable[[dict[str, Tensor]], tuple[Tensor, Any]], weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Any]:
    """Gradient of a scalar function in its weights, as constants.

    Args:
        function: from weights to the scalar and a pytree of tensors.
        weights: name -> tensor; they are not changed.

    Returns:
        The gradient by name and the pytree, both detached.

    Example:
        >>> gradient, double = first_order_gradient(lambda w: ((w["x"] ** 2).sum(), 2 * w["x"]), {"x": torch.ones(2)})
        >>> gradient["x"].tolist(), double.tolist()
        ([2.0, 2.0], [2.0, 2.0])
    """
    if fusing():
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        with torch.enable_grad():
            value, rest = function(leaves)
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        gradients = dict(zip(leaves, found, strict=True))
    else:
        gradients, rest = grad(function, has_aux=True)(weights)
        gradients = {name: g.detach() for name, g in gradients.items()}
    return gradients, tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, rest)
