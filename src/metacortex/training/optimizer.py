"""The optimiser of the outer loop, and its state as plain named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metacortex.errors import RunError
from metacortex.learners.base import Learner
from metacortex.settings import TrainingSettings

__all__ = ["load_optimizer", "make_optimizer", "optimizer_tensors", "outer_step"]


def make_optimizer(learner: Learner, settings: TrainingSettings) -> torch.optim.Optimizer | None:
    """Adam with decoupled weight decay on the meta-parameters; ``None`` if there are none.

    Parameters of one share of the learning rate (`Learner.lr_shares`) make a group, which has it as ``"share"``.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(learner.lr_shares.get(name.split(".")[0], 1.0), []).append(parameter)
    if not groups:
        return None
    given = [{"params": parameters, "share": share} for share, parameters in groups.items()]
    return torch.optim.AdamW(given, lr=1e-3, weight_decay=settings.weight_decay)  # outer_step sets lr


def outer_step(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    gradient: Mapping[str, Tensor],
    *,
    lr: float,
    clip_norm: float = 0.0,
) -> float:
    """Apply a meta-gradient.

    Args:
        learner: owner of the meta-parameters.
        optimizer: see `make_optimizer`.
        gradient: parameter name -> gradient; parameters left out stay as they are.
        lr: learning rate of this step, of which each group takes its share.
        clip_norm: largest norm of the whole gradient, 0 for no clipping.

    Returns:
        The norm of the gradient before clipping; when it is not finite nothing was changed.
    """
    parameters = dict(learner.named_parameters())
    optimizer.zero_grad(set_to_none=True)
    for name, value in gradient.items():
        parameters[name].grad = value.detach().to(parameters[name].dtype).clone()
    norm = float(nn.utils.clip_grad_norm_(list(parameters.values()), clip_norm or float("inf")))
    if norm == norm and norm != float("inf"):
        for group in optimizer.param_groups:
            group["lr"] = lr * group["share"]
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def optimizer_tensors(learner: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """State of the optimiser as ``"<parameter>/<slot>"`` -> tensor."""
    if optimizer is None:
        return {}
    found: dict[str, Tensor] = {}
    for name, parameter in learner.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            found[f"{name}/{slot}"] = torch.as_tensor(value)
    return found


def load_optimizer(
    learner: nn.Module, optimizer: torch.optim.Optimizer | None, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Put saved tensors back, the inverse of `optimizer_tensors`.

    Raises:
        RunError: if they belong to other parameters.
    """
    parameters = dict(learner.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        owner = parameters.get(name)
        if optimizer is None or owner is None or (value.dim() and value.shape != owner.shape):
            raise RunError(f"{where} holds the optimiser of another model: {key} {list(value.shape)} has no parameter")
        # The step counter of Adam stays on the CPU, the moments go where their parameter is.
        optimizer.state[owner][slot] = value.clone() if value.dim() == 0 else value.to(owner.device, copy=True)
