"""CAVIA: adapt a small context vector that conditions a network whose weights stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import OuterSettings
from metacortex.learners.gradient.selection import head_of
from metacortex.nn.norm import BatchNorm, InstanceNorm, LayerNorm
from metacortex.task import Examples
from metacortex.updates.base import Weights, parameter_key
from metacortex.updates.sgd import SGD

__all__ = ["CAVIA", "CAVIASettings"]

_NORMS = (BatchNorm, InstanceNorm, LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class CAVIASettings(OuterSettings):
    """Settings of `CAVIA`; those not listed are in `OuterSettings`.

    Attributes:
        context_size: numbers in the context vector; 0 means 100 for classification, 5 for regression.
        condition: ``"film"`` scales and shifts the outputs of a layer, ``"shift"`` only shifts them.
        layers: which layers are conditioned: ``"all"``, the ``"first"`` or the ``"last"`` before the head.
    """

    context_size: int = 0
    condition: Literal["film", "shift"] = "film"
    layers: Literal["all", "first", "last"] = "all"


class CAVIA(GradientLearner):
    """c_{k+1} = c_k − α ∇_c L_T(θ, c_k), c_0 = 0; the prediction is f(x; θ, c_K), with θ shared by all tasks.

    The context c conditions layers of the network by FiLM: the outputs h of a layer become
    (1 + cᵀA) ⊙ h + cᵀB with learned A and B. Written into the layer's weight and bias it needs nothing of
    the network; with norm layers it goes into theirs, which come after what they would undo.
    ``condition="shift"`` in the ``"first"`` layer of a network without norm layers is the same as
    appending c to the inputs.

    Args:
        model: any module from inputs to ``[N, outputs]``; its head is found as `select` says and is not
            conditioned. A head of zeros lets no gradient reach the context: begin with another one.
        inner_lr: α.
        inner_steps: steps while meta-training.
        context_size: length of c, at least 1.
        condition: ``"film"`` or ``"shift"``.
        layers: ``"all"``, ``"first"`` or ``"last"``.
        choices: the other choices of `GradientLearner` but ``adapt``: ``order``, ``eval_steps``, ``norm`` …

    Raises:
        SettingsError: for values out of range.
        LearnerError: if no layer before the head has a weight and a bias of its own.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> learner = CAVIA(net, context_size=4)
        >>> learner.initial(None)["context"].shape, learner.sites
        (torch.Size([4]), ('0',))

    Reference: Zintgraf, Shiarlis, Kurin, Hofmann and Whiteson, "Fast Context Adaptation via
    Meta-Learning", 2019, section 3; FiLM: Perez et al., 2018. The paper conditions one layer, here
    it is all of them unless told.
    """

    name: ClassVar[str] = "cavia"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 1.0,
        inner_steps: int = 1,
        *,
        context_size: int = 100,
        condition: str = "film",
        layers: str = "all",
        **choices: Any,
    ) -> None:
        if context_size < 1 or condition not in ("film", "shift") or layers not in ("all", "first", "last"):
            raise SettingsError(
                f"cavia: context_size must be at least 1, condition 'film' or 'shift', layers 'all', 'first' or "
                f"'last'; got {context_size}, '{condition}', '{layers}'"
            )
        super().__init__(model, SGD(inner_lr), inner_steps=inner_steps, **choices)
        self.context_size, self.condition = context_size, condition
        found = _sites(self.body.model)
        self.sites = {"all": found, "first": found[:1], "last": found[-1:]}[layers]
        self.conditioning = nn.ParameterDict()
        for site in self.sites:
            bias = self.body.weights()[f"{site}.bias"]
            width = bias.shape[0] * (2 if condition == "film" else 1)
            matrix = bias.detach().new_empty(context_size, width).uniform_(-1, 1) / context_size**0.5
            self.conditioning[parameter_key(site)] = nn.Parameter(matrix)

    def initial(self, support: Examples | None) -> Weights:
        """See `GradientLearner.initial`: a context of zeros."""
        like = next(iter(self.conditioning.values()))
        return {"context": torch.zeros_like(like[:, 0])}

    def all_weights(self, fast: Weights) -> Weights:
        """See `GradientLearner.all_weights`: the conditioned weights."""
        weights = self.body.weights()
        for site in self.sites:
            shift = fast["context"] @ self.conditioning[parameter_key(site)]
            weight, bias = weights[f"{site}.weight"], weights[f"{site}.bias"]
            if self.condition == "film":
                scale, shift = (1 + shift[: bias.shape[0]]), shift[bias.shape[0] :]
                weight, bias = weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), bias * scale
            weights[f"{site}.weight"], weights[f"{site}.bias"] = weight, bias + shift
        return weights


def _sites(model: nn.Module) -> tuple[str, ...]:
    """Layers whose outputs can be scaled and shifted: the norm layers before the head, else the others."""
    own, head = dict(model.named_parameters()), head_of(model)
    modules = [(n, m) for n, m in model.named_modules() if n != head and not n.startswith(head + ".")]
    able = [(n, m) for n, m in modules if n and f"{n}.weight" in own and f"{n}.bias" in own]
    able = [(n, m) for n, m in able if own[f"{n}.bias"].dim() == 1]
    norms = tuple(n for n, m in able if isinstance(m, _NORMS))
    # Only layers whose weight begins with the axis of the outputs.
    others = tuple(n for n, m in able if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d))
    if not norms and not others:
        raise LearnerError(
            f"cavia found no layer before the head of {type(model).__name__} with a weight and a bias of its own "
            "to condition: give one of its layers a bias, or use another learner"
        )
    return norms or others
