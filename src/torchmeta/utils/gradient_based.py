"""One step of an inner loop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["gradient_update_parameters"]


def gradient_update_parameters(
    model: nn.Module,
    loss: Tensor,
    params: Parameters | None = None,
    step_size: float | Tensor | Mapping[str, Tensor | float] = 0.5,
    first_order: bool = False,
) -> OrderedDict[str, Tensor]:
    """θ − α ∂loss/∂θ for every meta-parameter.

    Args:
        model: a MetaModule.
        loss: scalar, computed with ``params``.
        params: θ by name; the model's own when not given.
        step_size: α, one for all or one for each name (Meta-SGD).
        first_order: take the gradient as a constant.

    Returns:
        New parameters by name; those that the loss does not depend on stay as they are.

    Raises:
        SettingsError: (a ValueError) unless the model is a MetaModule, or for a name without a step size.

    *Differentiability*: in θ (to second order unless ``first_order``) and α.

    Example:
        >>> from torchmeta.modules import MetaLinear
        >>> model = MetaLinear(1, 1)
        >>> new = gradient_update_parameters(model, model(torch.ones(1, 1)).sum(), step_size=0.1)
        >>> bool(torch.isclose(new["bias"], model.bias - 0.1))
        True

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", 2017, eq. 1; Li et al., "Meta-SGD", 2017.
    """
    if not isinstance(model, MetaModule):
        raise SettingsError(
            f"the model must be a torchmeta.modules.MetaModule, got {type(model).__name__}: derive it from MetaModule, "
            "or wrap it in MetaWrap"
        )
    values = OrderedDict(model.meta_named_parameters()) if params is None else params
    gradients = torch.autograd.grad(loss, list(values.values()), create_graph=not first_order, allow_unused=True)
    updated: OrderedDict[str, Tensor] = OrderedDict()
    for (name, value), gradient in zip(values.items(), gradients, strict=True):
        updated[name] = value if gradient is None else value - _step_size(step_size, name) * gradient
    return updated


def _step_size(step_size: float | Tensor | Mapping[str, Tensor | float], name: str) -> Tensor | float:
    if not isinstance(step_size, Mapping):
        return step_size
    if name not in step_size:
        raise SettingsError(f"step_size has no entry for the parameter '{name}', only for {', '.join(step_size)}")
    return step_size[name]
