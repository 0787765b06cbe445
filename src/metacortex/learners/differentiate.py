"""Gradients and pull-backs: `torch.func` where it is needed, plain automatic differentiation where that will do.

`torch.func.grad` always records its backward pass for a further derivative and wraps every tensor once per level.
Where no ``vmap`` is active and no graph is being recorded, `torch.autograd` gives the same numbers with less work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metacortex.nn.mode import graphing, transforming
from metacortex.tree import tree_flatten, tree_map, tree_unflatten

__all__ = ["grad", "vjp"]


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, final: bool = False
) -> Callable[..., Any]:
    """The gradient of a scalar function, as `torch.func.grad`.

    Args:
        function: from pytrees of tensors to a scalar, or to a scalar and a pytree.
        argnums: position(s) of the arguments to differentiate in.
        has_aux: whether the function returns a pytree beside the scalar.
        final: nobody will differentiate the result; gradient and pytree may come detached.

    Returns:
        A function from the arguments to the gradient(s), or to gradient(s) and pytree. Its result can be
        differentiated unless ``final`` or under ``torch.no_grad``.

    Example:
        >>> grad(lambda w: (w["x"] ** 2).sum(), final=True)({"x": torch.ones(2)})
        {'x': tensor([2., 2.])}
    """

    def gradient(*args: Any) -> Any:
        if graphing() or transforming():
            return torch.func.grad(function, argnums, has_aux=has_aux)(*args)
        again = torch.is_grad_enabled() and not final
        places = (argnums,) if isinstance(argnums, int) else argnums
        chosen, spec = tree_flatten([args[i] for i in places])
        with torch.enable_grad():
            leaves = _leaves(chosen, again)
            filled = list(args)
            for place, value in zip(places, tree_unflatten(leaves, spec), strict=True):
                filled[place] = value
            result = function(*filled)
            value, aux = result if has_aux else (result, None)
            found = _pulled([value], [None], leaves, again)
        gradients = tree_unflatten(found, spec)
        gradients = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        if not has_aux:
            return gradients
        return gradients, aux if again else tree_map(_detached, aux)

    return gradient


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """The value of a function and the pull-back of its adjoints, as `torch.func.vjp`.

    Args:
        function: from pytrees of tensors to a pytree of tensors.
        primals: where.

    Returns:
        The value, and a function from adjoints of the same structure to those of ``primals``; it may be called
        several times. Neither can be differentiated unless a transform of `torch.func` is active.

    Example:
        >>> value, pull = vjp(lambda x: 3 * x, torch.tensor(2.0))
        >>> value, pull(torch.tensor(1.0))
        (tensor(6.), (tensor(3.),))
    """
    if graphing() or transforming():
        return torch.func.vjp(function, *primals)  # type: ignore[return-value]
    inputs, spec = tree_flatten(list(primals))
    with torch.enable_grad():
        leaves = _leaves(inputs, again=False)
        value = function(*tree_unflatten(leaves, spec))
    outputs, structure = tree_flatten(value)

    def pull(adjoints: Any) -> tuple[Any, ...]:
        given, got = tree_flatten(adjoints)
        if got != structure:
            raise ValueError(f"expected adjoints of the structure {structure}, got {got}")
        found = _pulled(outputs, given, leaves, again=False, keep=True)
        return tuple(tree_unflatten(found, spec))

    return tree_map(_detached, value), pull


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _leaves(values: Sequence[Any], again: bool) -> list[Any]:
    """Tensors to differentiate in: other objects, so that what a function closes over does not count."""

    def leaf(x: Tensor) -> Tensor:
        return x.view_as(x) if again and x.requires_grad else x.detach().requires_grad_()

    return [leaf(x) if _differentiable(x) else x for x in values]


def _pulled(
    outputs: Sequence[Any], adjoints: Sequence[Any], leaves: Sequence[Any], again: bool, keep: bool = False
) -> list[Any]:
    """Adjoints of the leaves; zeros where nothing depends on them."""
    places = [i for i, x in enumerate(leaves) if _differentiable(x)]
    pairs = [(y, a) for y, a in zip(outputs, adjoints, strict=True) if isinstance(y, Tensor) and y.requires_grad]
    inputs = [leaves[i] for i in places]
    if pairs and inputs:
        found = torch.autograd.grad(
            [y for y, _ in pairs], inputs, [a for _, a in pairs],
            retain_graph=again or keep, create_graph=again, allow_unused=True, materialize_grads=True,
        )  # fmt: skip
    else:
        found = [torch.zeros_like(x) for x in inputs]
    result = list(leaves)
    for place, g in zip(places, found, strict=True):
        result[place] = g
    return result
