"""Settings that the recipes of the gradient family share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GradientSettings", "InnerLoopSettings", "OuterSettings"]


@dataclass(frozen=True)
class InnerLoopSettings:
    """How the inner loop descends.

    Attributes:
        inner_lr: α, or what learned rates begin with; 0 means the learner's default for the kind of
            tasks, one for classification and one for regression.
        inner_steps: gradient steps while meta-training.
        eval_steps: gradient steps at evaluation; 0 means as many as ``inner_steps``.
        norm: batch-norm policy, see `metacortex.nn.body.NormPolicy`.
    """

    inner_lr: float = 0.0
    inner_steps: int = 1
    eval_steps: int = 0
    norm: Literal["query-batch", "support", "running", "per-step"] = "support"


@dataclass(frozen=True)
class OuterSettings(InnerLoopSettings):
    """How the inner loop descends, and how the outer gradient is taken through it.

    Attributes:
        order: 2, or 1 to take inner gradients as constants.
        unroll: ``"auto"``, ``"graph"`` or ``"steps"``, see `metacortex.learners.gradient.base`.
    """

    order: int = 2
    unroll: Literal["auto", "graph", "steps"] = "auto"


@dataclass(frozen=True)
class GradientSettings(OuterSettings):
    """All three choices: by which rule, how the outer gradient is taken, and what is adapted.

    Attributes:
        adapt: ``"all"``, ``"head"`` or ``"body"``.
    """

    adapt: Literal["all", "head", "body"] = "all"
