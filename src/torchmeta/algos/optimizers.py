"""The outer optimizer of an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError

__all__ = ["apply_gradient", "bind_optimizer"]


def bind_optimizer(given: Any, model: nn.Module, learner: nn.Module, lr: float) -> torch.optim.Optimizer | None:
    """The optimizer of a learner's parameters.

    Args:
        given: nothing (Adam), a class or function of (parameters, lr=...), or an optimizer over parameters of the
            user's model, whose groups are moved to the learner's copies of them; parameters that the learner has
            besides join the first group.
        model: the user's module.
        learner: what was made of it.
        lr: for the first two.

    Returns:
        ``None`` for a learner without parameters.

    Raises:
        SettingsError: for an optimizer of other parameters.
    """
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        return None
    if not isinstance(given, torch.optim.Optimizer):
        return (given or torch.optim.Adam)(parameters, lr=lr)
    copies = _copies(model, learner)
    left = {id(p): p for p in parameters}
    for group in given.param_groups:
        moved = []
        for value in group["params"]:
            if id(value) not in copies:
                raise SettingsError(
                    "the optimizer holds parameters that are not those of the model: make it for "
                    "model.parameters(), or pass a class such as torch.optim.SGD"
                )
            moved.append(copies[id(value)])
            left.pop(id(moved[-1]), None)
        group["params"] = moved
    given.param_groups[0]["params"] += list(left.values())
    given.state.clear()
    return given


def apply_gradient(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    gradients: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    *,
    clip_norm: float = 0.0,
) -> None:
    """One step of the outer loop, and the new values of buffers.

    Args:
        learner: whose parameters are trained.
        optimizer: of the outer loop.
        gradients: by the names of the parameters.
        buffers: likewise.
        clip_norm: largest norm of the whole gradient, 0 for no limit.
    """
    if optimizer is not None:
        parameters = dict(learner.named_parameters())
        optimizer.zero_grad(set_to_none=True)
        for name, gradient in gradients.items():
            parameters[name].grad = gradient.detach().to(parameters[name].dtype).clone()
        if clip_norm:
            nn.utils.clip_grad_norm_(list(parameters.values()), clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    own = dict(learner.named_buffers())
    with torch.no_grad():
        for name, value in buffers.items():
            own[name].copy_(value)


def _copies(model: nn.Module, learner: nn.Module) -> dict[int, nn.Parameter]:
    """Parameters of a module -> those of the learner with the same name at the end, by identity."""
    inner = model.module if isinstance(model, nn.DataParallel) else model
    found: dict[int, nn.Parameter] = {}
    for name, value in inner.named_parameters():
        for place, copy in learner.named_parameters():
            if place == name or (place.endswith(f".{name}") and copy.shape == value.shape):
                found[id(value)] = copy
                break
    return found
