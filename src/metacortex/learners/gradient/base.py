"""The gradient family: learners that adapt by descending the support loss.

Three independent choices make a member of the family: *what* is adapted (`selection`), by
*which rule* (`metacortex.updates`), and *how the outer gradient is taken* (``order`` and
``unroll``).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Gradients, Learner, Outcome, State
from metacortex.learners.gradient.replay import random_state, replayed
from metacortex.learners.gradient.selection import select
from metacortex.learners.objective import Objective, hide_padding
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.body import Body
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import Statistics, real_rows
from metacortex.task import Examples, Task
from metacortex.tree import tree_map
from metacortex.updates.base import UpdateRule

__all__ = ["GradientLearner", "Unroll"]

Unroll = Literal["auto", "graph", "steps"]


class GradientLearner(Learner):
    """f_φ(T) = K steps of an update rule on the support loss, from learned initial weights.

    Args:
        model: base model, maps inputs to ``[N, outputs]``; copied, never changed.
        rule: the inner update rule.
        inner_steps: K while meta-training, at least 0.
        eval_steps: K at evaluation; ``None`` for the same.
        order: 2 differentiates through the inner gradients, 1 takes them as constants.
        adapt: which parameters become fast weights, see `select`.
        norm: batch-norm policy, see `metacortex.nn.body.NormPolicy`.
        unroll: how an order-2 outer gradient is taken. ``"graph"`` keeps the graph of all inner
            steps. ``"steps"`` keeps only the fast weights and recomputes one step at a time, so
            that memory does not grow with K. ``"auto"``: ``steps`` from three inner steps on.
        objective: loss of both loops; cross-entropy by default.

    Raises:
        SettingsError: for values out of range.

    *Differentiability*: the loss is differentiable in φ to the order that the model is; a meta-gradient
    of order 2 needs a model that can be differentiated twice.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: UpdateRule,
        *,
        inner_steps: int = 1,
        eval_steps: int | None = None,
        order: int = 2,
        adapt: str = "all",
        norm: str = "support",
        unroll: Unroll = "auto",
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        if inner_steps < 0 or (eval_steps is not None and eval_steps < 0):
            raise SettingsError(f"inner_steps and eval_steps must not be negative, got {inner_steps}, {eval_steps}")
        if order not in (1, 2):
            raise SettingsError(f"order must be 1 (first order) or 2 (second order), got {order}")
        if unroll not in ("auto", "graph", "steps"):
            raise SettingsError(f"unroll must be 'auto', 'graph' or 'steps', got '{unroll}'")
        self.body = Body(model, norm, max(inner_steps, eval_steps or 0))
        self.rule = rule
        self.inner_steps, self.eval_steps = inner_steps, inner_steps if eval_steps is None else eval_steps
        self.order, self.unroll = order, unroll
        self.adapted = select(self.body.model, adapt)
        if objective is not None:
            self.objective = objective

    @property
    def steps(self) -> int:
        """Inner steps in the present mode (training or evaluation)."""
        return self.inner_steps if self.training else self.eval_steps

    @property
    def autograd_gradient(self) -> bool:  # type: ignore[override]
        """Whether `task_gradient` at present differentiates the whole graph of `loss`."""
        stepwise = self.unroll == "steps" or (self.unroll == "auto" and self.steps > 2)
        return self.order == 1 or not stepwise

    # --- the inner loop, in three pure pieces ---

    def start(self) -> State:
        """Before the first inner step: initial fast weights, the rule's state, no statistics."""
        weights = self.body.weights()
        fast = {name: weights[name] for name in self.adapted}
        return {"fast": fast, "rule": self.rule.init(fast)}

    def step(self, carry: State, support: Examples, k: int) -> tuple[State, Statistics]:
        """One inner step; returns the new carry and the batch-norm statistics it saw."""

        def support_loss(fast: dict[str, Tensor]) -> tuple[Tensor, Statistics]:
            with real_rows(support.mask):
                output, seen = self._run(fast, support.inputs, self.body.given(k))
            return self.objective.loss(self._slots(output, support.classes), support), seen

        gradients, seen = grad(support_loss, has_aux=True)(carry["fast"])
        if self.order == 1:
            gradients = {name: g.detach() for name, g in gradients.items()}
        fast, rule = self.rule.update(gradients, carry["rule"], carry["fast"], k)
        return {"fast": fast, "rule": rule}, seen

    def finish(self, carry: State, support: Examples) -> State:
        """After the last inner step: the state that `predict` needs."""
        frozen = {k: v for k, v in self.body.weights().items() if k not in carry["fast"]}
        state: State = {"weights": {**frozen, **carry["fast"]}}
        if support.classes is not None:
            state["classes"] = support.classes
        given = self.body.given(self.steps)
        if self.body.norm == "support":
            with real_rows(support.mask):
                _, given = self.body.observe(state["weights"], support.inputs)
        return pack_statistics(state, given)

    def score(self, carry: State, task: Task, seen: dict[int, Statistics]) -> Outcome:
        """Loss of the adapted weights on the query set."""
        state = self.finish(carry, task.support)
        with real_rows(task.query.mask):
            prediction, query_seen = self._predict(state, task.query.inputs)
        buffers = self.body.refreshed({**seen, self.steps: query_seen})
        return self.outcome(prediction, task.query, {f"body.{k}": v for k, v in buffers.items()})

    # --- the protocol ---

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """K inner steps on the support set; see `Learner.adapt`.

        Returns:
            ``weights`` (every weight of the base model by name), ``classes`` and, where the norm
            policy fixes them, ``statistics``.
        """
        carry = self.start()
        for k in range(self.steps):
            carry, _ = self.step(carry, support, k)
        return self.finish(carry, support)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Output of the base model with the adapted weights, ``[N, way]``."""
        return self._predict(state, inputs)[0]

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Features before the head where the base model has one, else its output."""
        model = self.body.model
        if not isinstance(model, Classifier):
            return self.predict(state, inputs)
        with self.body.policy(unpack_statistics(state)):
            prefix = "backbone."
            weights = {k.removeprefix(prefix): v for k, v in state["weights"].items() if k.startswith(prefix)}
            return functional_call(model.backbone, weights, (inputs,))

    def loss(self, task: Task) -> Outcome:
        """See `Learner.loss`."""
        carry, seen = self.start(), {}
        for k in range(self.steps):
            carry, statistics = self.step(carry, task.support, k)
            if self.body.refreshes:
                seen[k] = statistics
        return self.score(carry, task, seen)

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """dL_i/dφ, taken as ``unroll`` says; both ways give the same gradient."""
        return super().task_gradient(task) if self.autograd_gradient else self._stepwise_gradient(task)

    def keeps(self) -> set[str]:
        """Only buffers: every weight of the base model is in the state."""
        return {name for name, _ in self.named_buffers()}

    # --- how ---

    def _stepwise_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """Reverse through the inner steps one at a time, keeping only θ_0 … θ_K.

        With θ_{k+1} = u_k(φ, θ_k) and λ_K = ∂L/∂θ_K: λ_k = λ_{k+1} ∂u_k/∂θ_k and
        dL/dφ = ∂L/∂φ + Σ_k λ_{k+1} ∂u_k/∂φ.
        """
        phi = self.meta_parameters()
        with torch.no_grad():
            carries, seen, randoms = [self.call(phi, "start")], {}, []
            for k in range(self.steps):
                randoms.append(random_state())
                carry, statistics = self.call(phi, "step", carries[-1], task.support, k)
                if self.body.refreshes:
                    seen[k] = statistics
                carries.append(carry)

        def last(phi: dict[str, Tensor], carry: State) -> tuple[Tensor, Outcome]:
            outcome = self.call(phi, "score", carry, task, seen)
            return outcome.loss, outcome

        (total, adjoint), outcome = grad(last, argnums=(0, 1), has_aux=True)(phi, carries.pop())
        for k in reversed(range(self.steps)):

            def one(phi: dict[str, Tensor], carry: State, k: int = k) -> State:
                return self.call(phi, "step", carry, task.support, k)[0]

            # A model with dropout must drop the same units when its step is computed again.
            with replayed(randoms.pop()):
                pull = vjp(one, phi, carries.pop())[1]
            share, adjoint = pull(adjoint)
            total = tree_map(torch.add, total, share)
        pull = vjp(lambda phi: self.call(phi, "start"), phi)[1]
        (share,) = pull(adjoint)
        return tree_map(torch.add, total, share), tree_map(torch.Tensor.detach, outcome)

    def _run(self, fast: dict[str, Tensor], inputs: Any, given: Statistics | None) -> tuple[Tensor, Statistics]:
        return self.body({**self.body.weights(), **fast}, inputs, given)

    def _predict(self, state: State, inputs: Any) -> tuple[Tensor, Statistics]:
        output, seen = self.body(state["weights"], inputs, unpack_statistics(state))
        return self._slots(output, state.get("classes")), seen

    def _slots(self, output: Tensor, classes: Tensor | None) -> Tensor:
        """The outputs of the task's class slots, padding hidden."""
        if classes is None:
            return output
        way = classes.shape[-1]
        if way > output.shape[-1]:
            raise LearnerError(
                f"the base model has {output.shape[-1]} outputs, the task has {way} classes: "
                f"train with way {way} or more, or use a learner for any number of classes (protonet)"
            )
        return hide_padding(output[..., :way], classes)
