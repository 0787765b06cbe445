"""iMAML: the outer gradient from the condition that adaptation ends at, not from its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import Gradients, Outcome
from metacortex.learners.differentiate import grad, vjp
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import InnerLoopSettings
from metacortex.learners.gradient.conjugate import conjugate_gradients
from metacortex.task import Task
from metacortex.tree import tree_map
from metacortex.updates.base import Weights
from metacortex.updates.proximal import ProximalSGD

__all__ = ["IMAML", "IMAMLSettings"]


@dataclass(frozen=True)
class IMAMLSettings(InnerLoopSettings):
    """Settings of `IMAML`; those not listed are in `InnerLoopSettings`.

    Attributes:
        strength: λ, how strongly adapted weights are held at the initial ones, positive.
        cg_steps: steps of conjugate gradients, each the price of one second-order product.
        adapt: ``"all"``, ``"head"`` or ``"body"``.
    """

    inner_steps: int = 16
    strength: float = 2.0
    cg_steps: int = 5
    adapt: Literal["all", "head", "body"] = "all"


class IMAML(GradientLearner):
    """θ* = argmin_θ' L_support(θ') + λ/2 ‖θ' − θ‖²;  dL/dθ = (I + ∇²L_support(θ*) / λ)⁻¹ ∇L_query(θ*).

    The inner problem is solved by ``inner_steps`` of gradient descent, the linear system by
    ``cg_steps`` of conjugate gradients. Memory and the price of the outer gradient do not depend on the
    number of inner steps. The gradient is that of the solution: exact in the limit of many steps of
    both kinds, and where λ is above the most negative curvature of the support loss.

    Parameters that are not adapted get their implicit gradient too:
    dL/dψ = ∂L_query/∂ψ − ∂/∂ψ ⟨∇L_support(θ*, ψ), v⟩ with v = (λI + ∇²L_support)⁻¹ ∇L_query(θ*).

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: α of the inner descent; it converges for α (λ + the largest curvature) < 2.
        inner_steps: steps while meta-training.
        strength: λ.
        cg_steps: steps of conjugate gradients, at least 1.
        choices: the other choices of `GradientLearner` but ``order`` and ``unroll``: ``adapt``, ``norm`` …

    Raises:
        SettingsError: for values out of range.

    Example:
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> sorted(IMAML(nn.Linear(2, 2)).task_gradient(Task.classification(x, y, x, y))[0])
        ['body.model.bias', 'body.model.weight']

    Reference: Rajeswaran, Finn, Kakade and Levine, "Meta-Learning with Implicit Gradients", 2019,
    lemma 1 and algorithm 2.
    """

    name: ClassVar[str] = "imaml"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 3e-3

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.1,
        inner_steps: int = 16,
        *,
        strength: float = 2.0,
        cg_steps: int = 5,
        **choices: Any,
    ) -> None:
        if not strength > 0 or cg_steps < 1:
            raise SettingsError(f"strength must be positive and cg_steps at least 1, got {strength} and {cg_steps}")
        super().__init__(model, ProximalSGD(inner_lr, strength), inner_steps=inner_steps, **choices)
        self.strength, self.cg_steps = strength, cg_steps

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """dL_i/dφ by implicit differentiation of the inner solution; see the class."""
        phi = self.meta_parameters()
        with torch.no_grad():
            carry, seen = self.call(phi, "start", task.support), {}
            for k in range(self.steps):
                carry, statistics = self.call(phi, "step", carry, task.support, k)
                if self.body.refreshes:
                    seen[k] = statistics

        def scored(phi: dict[str, Tensor], fast: Weights) -> tuple[Tensor, Outcome]:
            outcome = self.call(phi, "score", {**carry, "fast": fast}, task, seen)
            return outcome.loss, outcome

        def condition(phi: dict[str, Tensor], fast: Weights) -> Weights:
            """What is zero at the solution: ∇L_support(θ') + λ (θ' − θ)."""
            start = self.call(phi, "start", task.support)
            slope, _ = self.call(phi, "slope", {**start, "fast": fast}, task.support, self.steps)
            return {name: g + self.strength * (fast[name] - start["fast"][name]) for name, g in slope.items()}

        fast = carry["fast"]
        (direct, adjoint), outcome = grad(scored, argnums=(0, 1), has_aux=True, final=True)(phi, fast)
        # ∇²L + λI is symmetric, so its products are pull-backs; the graph is built once for all of them.
        pull = vjp(lambda fast: condition(phi, fast), fast)[1]
        solution = conjugate_gradients(lambda v: pull(v)[0], adjoint, self.cg_steps)
        (share,) = vjp(lambda phi: condition(phi, fast), phi)[1](solution)
        return tree_map(torch.sub, direct, share), tree_map(torch.Tensor.detach, outcome)
