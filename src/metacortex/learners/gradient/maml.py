"""MAML: learn initial parameters from which a few gradient steps solve a new task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from metacortex.errors import SettingsError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.objective import Objective
from metacortex.nn.body import NORM_POLICIES
from metacortex.updates.sgd import SGD

__all__ = ["MAML", "MAMLSettings"]


@dataclass(frozen=True)
class MAMLSettings:
    """Settings of `MAML`.

    Attributes:
        inner_lr: α, positive.
        inner_steps: gradient steps while meta-training.
        eval_steps: gradient steps at evaluation; 0 means as many as ``inner_steps``.
        order: 2, or 1 for first-order MAML.
        adapt: ``"all"``, ``"head"`` or ``"body"``.
        norm: batch-norm policy.
        unroll: ``"auto"``, ``"graph"`` or ``"steps"``.
    """

    inner_lr: float = 0.4
    inner_steps: int = 1
    eval_steps: int = 0
    order: int = 2
    adapt: Literal["all", "head", "body"] = "all"
    norm: Literal["query-batch", "support", "running", "per-step"] = "support"
    unroll: Literal["auto", "graph", "steps"] = "auto"

    def __post_init__(self) -> None:
        if self.norm not in NORM_POLICIES:
            raise SettingsError(f"norm must be one of {', '.join(NORM_POLICIES)}, got '{self.norm}'")


class MAML(GradientLearner):
    """f_θ(T) = θ − α ∇L_T(θ), repeated ``inner_steps`` times; φ = θ.

    With the query set equal to the support set and one step, the meta-objective is
    L(θ) = Σ_i L_i(θ − α ∇L_i(θ)).

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: α.
        inner_steps: steps while meta-training.
        eval_steps: steps at evaluation, ``0`` or ``None`` for the same number.
        order: 1 or 2.
        adapt: what is adapted.
        norm: batch-norm policy.
        unroll: how the outer gradient is taken.
        objective: loss, cross-entropy by default.

    Example:
        >>> import torch
        >>> learner = MAML(torch.nn.Linear(2, 2), inner_lr=0.1)
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> gradients, outcome = learner.task_gradient(Task.classification(x, y, x, y))
        >>> sorted(gradients)
        ['body.model.bias', 'body.model.weight']

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
    Networks", 2017, algorithm 1.
    """

    name: ClassVar[str] = "maml"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.4,
        inner_steps: int = 1,
        eval_steps: int | None = None,
        order: int = 2,
        adapt: str = "all",
        norm: str = "support",
        unroll: Literal["auto", "graph", "steps"] = "auto",
        objective: Objective | None = None,
    ) -> None:
        super().__init__(
            model,
            SGD(inner_lr),
            inner_steps=inner_steps,
            eval_steps=eval_steps or None,
            order=order,
            adapt=adapt,
            norm=norm,
            unroll=unroll,
            objective=objective,
        )
