"""ANIL: adapt the head alone, so that the body runs once for a support set."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.func import functional_call

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import OuterSettings
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import Statistics, fused_kernels, real_rows, statistics_pass
from metacortex.task import Examples
from metacortex.updates.base import Weights
from metacortex.updates.sgd import SGD

__all__ = ["ANIL", "ANILSettings"]


@dataclass(frozen=True)
class ANILSettings(OuterSettings):
    """Settings of `ANIL`, see `OuterSettings`."""

    inner_steps: int = 5
    norm: Literal["query-batch", "support", "running"] = "support"


class ANIL(GradientLearner):
    """MAML that adapts the head alone: h' = h − α ∇_h L_T(b, h), with the body b as it is.

    The support features are computed once and carried through the inner steps, which cost next to
    nothing; second derivatives stop at the features.

    Args:
        model: any module from inputs to ``[N, outputs]``; its head is found as `select` says. Features
            are shared between the steps where it is a `metacortex.nn.classifier.Classifier`.
        inner_lr: α.
        inner_steps: steps while meta-training.
        norm: batch-norm policy; not ``"per-step"``, as the body does not change from step to step.
        choices: the other choices of `GradientLearner` but ``adapt``: ``order``, ``eval_steps`` …

    Raises:
        SettingsError: for the norm policy ``per-step``.

    Example:
        >>> import torch
        >>> ANIL(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2, bias=False))).adapted
        ('1.weight',)

    Reference: Raghu, Raghu, Bengio and Vinyals, "Rapid Learning or Feature Reuse? Towards
    Understanding the Effectiveness of MAML", 2020, section 4.
    """

    name: ClassVar[str] = "anil"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(
        self, model: nn.Module, inner_lr: float = 0.4, inner_steps: int = 5, norm: str = "support", **choices: Any
    ) -> None:
        if norm == "per-step":
            raise SettingsError("norm 'per-step' needs a body that is adapted; anil: use support, running, query-batch")
        super().__init__(model, SGD(inner_lr), inner_steps=inner_steps, adapt="head", norm=norm, **choices)

    def start(self, support: Examples) -> State:
        """See `GradientLearner.start`; with the support features and, where they are needed, their statistics."""
        carry = super().start(support)
        if not isinstance(self.body.model, Classifier):
            return carry
        kept = self.body.norm == "support"
        # Statistics that gradients pass through come from the written-out layers alone.
        kernels = fused_kernels(False) if kept else nullcontext()
        with real_rows(support.mask), statistics_pass(self.body.given(0)) as current, kernels:
            features = self.body.model.backbone(support.inputs)
        return pack_statistics({**carry, "features": features}, current.seen if kept else None)

    def run(self, carry: State, fast: Weights, support: Examples, k: int) -> tuple[Tensor, Statistics]:
        """See `GradientLearner.run`: the head on the support features."""
        model = self.body.model
        if not isinstance(model, Classifier):
            return super().run(carry, fast, support, k)
        head = {name.removeprefix("head."): w for name, w in fast.items()}
        return functional_call(model.head, head, (carry["features"],)), {}

    def given(self, carry: State, weights: Weights, support: Examples) -> Statistics | None:
        """See `GradientLearner.given`: the body has not changed, nor have its statistics."""
        if "features" not in carry or self.body.norm != "support":
            return super().given(carry, weights, support)
        return unpack_statistics(carry)
