"""MAML++: MAML with the repairs that make it stable, each of them a switch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import Outcome, State
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import InnerLoopSettings
from metacortex.nn.mode import recording
from metacortex.nn.norm import Statistics
from metacortex.task import Task
from metacortex.updates.base import Weights
from metacortex.updates.layer_step_rates import LayerStepRates
from metacortex.updates.sgd import SGD

__all__ = ["MAMLPlusPlus", "MAMLPlusPlusSettings"]


@dataclass(frozen=True)
class MAMLPlusPlusSettings(InnerLoopSettings):
    """Settings of `MAMLPlusPlus`; those not listed are in `InnerLoopSettings`.

    Attributes:
        learned_rates: learn a rate for each weight tensor and inner step; off: ``inner_lr`` stays.
        multi_step_until: meta-steps over which the outer loss moves from the mean over the inner
            steps to the last one alone; 0: the last alone from the beginning.
        first_order_until: meta-steps with inner gradients taken as constants before second
            derivatives are used; 0: second derivatives from the beginning.
        norm: ``"per-step"`` keeps running batch-norm statistics for each inner step.
        unroll: ``"auto"``, ``"graph"`` or ``"steps"``, see `metacortex.learners.gradient.base`.
    """

    inner_steps: int = 5
    learned_rates: bool = True
    multi_step_until: int = 1000
    first_order_until: int = 0
    norm: Literal["query-batch", "support", "running", "per-step"] = "per-step"
    unroll: Literal["auto", "graph", "steps"] = "auto"


class MAMLPlusPlus(GradientLearner):
    """MAML with a multi-step loss, learned rates, statistics per step and derivative-order annealing.

        θ_{k+1}^l = θ_k^l − α_{l,k} ∇_{θ^l} L_support(θ_k),    L(φ) = Σ_{k=1}^K v_k L_query(θ_k)

    The shares v_k are equal at first; over ``multi_step_until`` meta-steps those of the steps before
    the last fall linearly to zero. How many meta-steps there were is counted by the buffer
    ``meta_steps``, which travels in `Outcome.buffers` as batch-norm statistics do and is saved with
    the weights: a resumed run goes on where it was. At evaluation the last step alone counts.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: what every α begins with.
        inner_steps: K while meta-training.
        learned_rates: see `MAMLPlusPlusSettings`, as the next two.
        multi_step_until: meta-steps of the multi-step loss.
        first_order_until: meta-steps of first order.
        norm: batch-norm policy.
        choices: the other choices of `GradientLearner` but ``order``: ``eval_steps``, ``unroll`` …

    Raises:
        SettingsError: for values out of range.

    Example:
        >>> learner = MAMLPlusPlus(torch.nn.Linear(2, 2), inner_steps=4, multi_step_until=100)
        >>> learner.stage_weights().tolist()
        [0.25, 0.25, 0.25, 0.25]
        >>> learner.meta_steps += 60
        >>> [round(share, 2) for share in learner.stage_weights().tolist()]
        [0.1, 0.1, 0.1, 0.7]

    Reference: Antoniou, Edwards and Storkey, "How to Train Your MAML", 2019, section 4; the cosine
    schedule of the outer loop is the trainer's default. Where we deviate: the shares of early steps
    reach zero, where the authors' code leaves 0.03/K until the annealing ends; batch-norm weights
    are adapted like all others and shared between the steps.
    """

    name: ClassVar[str] = "maml_pp"
    whole_graph_steps: ClassVar[int] = 2  # each with a pass of the queries, which is most of the memory
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    meta_steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.1,
        inner_steps: int = 5,
        *,
        learned_rates: bool = True,
        multi_step_until: int = 1000,
        first_order_until: int = 0,
        norm: str = "per-step",
        **choices: Any,
    ) -> None:
        if multi_step_until < 0 or first_order_until < 0:
            raise SettingsError(
                f"multi_step_until and first_order_until must not be negative, got {multi_step_until} "
                f"and {first_order_until}"
            )
        rates = partial(LayerStepRates, lr=inner_lr, steps=max(inner_steps, 1))
        rule = rates if learned_rates else SGD(inner_lr)
        super().__init__(model, rule, inner_steps=inner_steps, norm=norm, **choices)
        self.multi_step_until, self.first_order_until = multi_step_until, first_order_until
        self.register_buffer("meta_steps", torch.zeros((), dtype=torch.int64))

    @property
    def first_order(self) -> bool:
        """See `GradientLearner.first_order`: while training, until ``first_order_until``."""
        if not self.training or not self.first_order_until or recording():
            return False
        return int(self.meta_steps) < self.first_order_until

    def slope(self, carry: State, support: Any, k: int) -> tuple[Weights, Statistics]:
        """See `GradientLearner.slope`."""
        gradients, seen = super().slope(carry, support, k)
        if self.training and self.first_order_until and recording():
            # A recorded graph serves both phases, so it cannot branch on the counter.
            first = self.meta_steps < self.first_order_until
            gradients = {name: torch.where(first, g.detach(), g) for name, g in gradients.items()}
        return gradients, seen

    def stage_weights(self) -> Tensor | None:
        """See `GradientLearner.stage_weights`: (1 − p)/K for all but the last, p = progress of the annealing."""
        if not self.training or not self.multi_step_until or self.steps < 2:
            return None
        if not recording() and int(self.meta_steps) >= self.multi_step_until:
            return None
        like = next(iter(self.body.weights().values()))
        progress = (self.meta_steps.to(like.dtype) / self.multi_step_until).clamp(max=1)
        early = ((1 - progress) / self.steps).expand(self.steps - 1)
        return torch.cat([early, (1 - early.sum())[None]])

    def score(self, carry: State, task: Task, seen: dict[int, Statistics]) -> Outcome:
        """See `GradientLearner.score`; in training the meta-step is counted."""
        outcome = super().score(carry, task, seen)
        if not self.training:
            return outcome
        return replace(outcome, buffers={**outcome.buffers, "meta_steps": self.meta_steps + 1})
