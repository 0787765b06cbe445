"""First-order MAML: the outer gradient without second derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import InnerLoopSettings
from metacortex.updates.sgd import SGD

__all__ = ["FOMAML", "FOMAMLSettings"]


@dataclass(frozen=True)
class FOMAMLSettings(InnerLoopSettings):
    """Settings of `FOMAML`; those not listed are in `InnerLoopSettings`.

    Attributes:
        adapt: ``"all"``, ``"head"`` or ``"body"``.
    """

    adapt: Literal["all", "head", "body"] = "all"


class FOMAML(GradientLearner):
    """MAML with dL/dθ ≈ ∇L_query(θ_K): the gradient at the adapted weights is applied to the initial ones.

    Nothing is differentiated twice and no inner step is computed again: a meta-step costs K + 1
    ordinary gradients, and its memory is that of one.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: α.
        inner_steps: steps while meta-training.
        choices: the other choices of `GradientLearner` but ``order``: ``eval_steps``, ``adapt``, ``norm`` …

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> learner = FOMAML(torch.nn.Linear(2, 2), inner_lr=0.1, inner_steps=5)
        >>> sorted(learner.task_gradient(Task.classification(x, y, x, y))[0])
        ['body.model.bias', 'body.model.weight']

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", 2017, section 5.2; Nichol,
    Achiam and Schulman, "On First-Order Meta-Learning Algorithms", 2018, section 2.
    """

    name: ClassVar[str] = "fomaml"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(self, model: nn.Module, inner_lr: float = 0.4, inner_steps: int = 1, **choices: Any) -> None:
        super().__init__(model, SGD(inner_lr), inner_steps=inner_steps, order=1, **choices)
