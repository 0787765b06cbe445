"""A learner's state as named tensors and a JSON structure, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metacortex.errors import LearnerError

__all__ = ["flatten_state", "portable", "unflatten_state"]

_PREFIX = "state"


def portable(tensor: Tensor) -> Tensor:
    """The tensor as a file holds it: on the CPU, contiguous, floats in single precision, no graph."""
    tensor = tensor.detach().cpu()
    return tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.contiguous()


def flatten_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Take a state apart.

    Args:
        state: nested dictionaries with text keys, lists and tuples of tensors, numbers, texts and ``None``.

    Returns:
        A JSON-able structure and the tensors by name; names say where they are, ``state/prototypes``.

    Raises:
        LearnerError: for anything else inside, naming where.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(state, (_PREFIX,), tensors), tensors


def unflatten_state(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put a state together again; the inverse of `flatten_state`.

    Raises:
        KeyError: for a tensor that is not there.
        ValueError: for a structure that `flatten_state` does not make.
    """
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: unflatten_state(value, tensors) for key, value in content.items()}
    if kind in ("list", "tuple"):
        items = [unflatten_state(value, tensors) for value in content]
        return items if kind == "list" else tuple(items)
    raise ValueError(f"unknown kind '{kind}' in the structure of a state")


def _flatten(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> dict[str, Any]:
    if isinstance(value, Tensor):
        name = "/".join(path)
        while name in tensors:  # keys may hold slashes themselves
            name += "'"
        tensors[name] = portable(value)
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _flatten(item, (*path, key), tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flatten(item, (*path, str(i)), tensors) for i, item in enumerate(value)]}
    raise LearnerError(
        f"the state holds a {type(value).__name__} at {'/'.join(path)}: a skill can keep tensors, numbers, "
        "texts, and dictionaries, lists and tuples of them"
    )
