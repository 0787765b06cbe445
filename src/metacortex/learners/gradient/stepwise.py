"""The outer gradient taken one inner step at a time, so that memory does not grow with their number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metacortex.learners.base import Gradients, Outcome, State
from metacortex.learners.differentiate import grad, vjp
from metacortex.learners.gradient.replay import random_state, replayed
from metacortex.task import Task
from metacortex.tree import tree_map

if TYPE_CHECKING:
    from metacortex.learners.gradient.base import GradientLearner

__all__ = ["stepwise_gradient"]


def stepwise_gradient(learner: GradientLearner, task: Task) -> tuple[Gradients, Outcome]:
    """Reverse through the inner steps one at a time, keeping only what is carried between them.

    With the carry c_{k+1} = u_k(φ, c_k), the query loss Σ_k w_k L(φ, c_k) and λ_K = w_K ∂L/∂c_K:

        λ_k = λ_{k+1} ∂u_k/∂c_k + w_k ∂L/∂c_k,   dL/dφ = Σ_k w_k ∂L/∂φ + Σ_k λ_{k+1} ∂u_k/∂φ

    At order 2 each step is computed again for its pull-back. At order 1 the inner gradients are
    constants: only the update rule is pulled back, which costs next to nothing.

    Args:
        learner: whose inner loop is differentiated.
        task: one task.

    Returns:
        The gradient by parameter name and the outcome, both detached; equal to the automatic
        differentiation of ``learner.loss``.
    """
    phi, stages, first_order = learner.meta_parameters(), learner.stage_weights(), learner.first_order
    with torch.no_grad():
        carries, seen, slopes, randoms = [learner.call(phi, "start", task.support)], {}, [], []
        for k in range(learner.steps):
            randoms.append(random_state())
            slope, statistics = learner.call(phi, "slope", carries[-1], task.support, k)
            slopes.append(slope if first_order else None)
            carries.append(learner.call(phi, "advance", carries[-1], slope, k))
            if learner.body.refreshes:
                seen[k] = statistics

    def scored(phi: dict[str, Tensor], carry: State, weight: Tensor | float) -> tuple[Tensor, Outcome]:
        outcome = learner.call(phi, "score", carry, task, seen)
        outcome = replace(outcome, loss=weight * outcome.loss)
        return outcome.loss, outcome

    pulled = grad(scored, argnums=(0, 1), has_aux=True, final=True)
    (total, adjoint), outcome = pulled(phi, carries.pop(), 1.0 if stages is None else stages[-1])
    for k in reversed(range(learner.steps)):

        def one(phi: dict[str, Tensor], carry: State, k: int = k) -> State:
            if first_order:
                return learner.call(phi, "advance", carry, slopes[k], k)
            return learner.call(phi, "step", carry, task.support, k)[0]

        carry = carries.pop()
        # A model with dropout must drop the same units when its step is computed again.
        with replayed(randoms.pop()):
            pull = vjp(one, phi, carry)[1]
        share, adjoint = pull(adjoint)
        total = tree_map(torch.add, total, share)
        if stages is not None and k:
            shares, part = pulled(phi, carry, stages[k - 1])
            total, adjoint = tree_map(torch.add, (total, adjoint), shares)
            outcome = replace(outcome, loss=outcome.loss + part.loss)
    pull = vjp(lambda phi: learner.call(phi, "start", task.support), phi)[1]
    (share,) = pull(adjoint)
    return tree_map(torch.add, total, share), tree_map(torch.Tensor.detach, outcome)
