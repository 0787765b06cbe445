"""The gradient family: learners that adapt by descending the support loss.

Three independent choices make a member of the family: *what* is adapted (`selection`, and
`GradientLearner.initial` and `all_weights` where fast weights are no weights of the base model), by
*which rule* (`metacortex.updates`), and *how the outer gradient is taken* (``order`` and ``unroll``,
or a `task_gradient` of the learner's own).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Gradients, Learner, Outcome, State
from metacortex.learners.differentiate import grad
from metacortex.learners.gradient.selection import select
from metacortex.learners.gradient.stepwise import stepwise_gradient
from metacortex.learners.objective import Objective, hide_padding
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.body import Body
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import Statistics, real_rows
from metacortex.task import Examples, Task
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["GradientLearner", "Unroll"]

Unroll = Literal["auto", "graph", "steps"]


class GradientLearner(Learner):
    """f_φ(T) = K steps of an update rule on the support loss, from learned initial weights.

    Args:
        model: base model, maps inputs to ``[N, outputs]``; copied, never changed.
        rule: the inner update rule, or what makes one from the weights of the base model that are adapted.
        inner_steps: K while meta-training, at least 0.
        eval_steps: K at evaluation; ``None`` for the same.
        order: 2 differentiates through the inner gradients, 1 takes them as constants.
        adapt: which parameters become fast weights, see `select`.
        norm: batch-norm policy, see `metacortex.nn.body.NormPolicy`.
        unroll: how an order-2 outer gradient is taken. ``"graph"`` keeps the graph of all inner
            steps. ``"steps"`` keeps only the fast weights and recomputes one step at a time, so
            that memory does not grow with K; at order 1, where inner gradients are constants, nothing
            is computed twice. ``"auto"``: ``steps`` at order 1 and with more than five inner steps.
        objective: loss of both loops; cross-entropy by default.

    Raises:
        SettingsError: for values out of range.

    *Differentiability*: the loss is differentiable in φ to the order that the model is; a meta-gradient
    of order 2 needs a model that can be differentiated twice.
    """

    whole_graph_steps: ClassVar[int] = 5
    """Inner steps of which the whole graph is kept unless told: computing them again takes a third to a half longer."""

    def __init__(
        self,
        model: nn.Module,
        rule: UpdateRule | Callable[[Weights], UpdateRule],
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
        # Statistics of steps that meta-training never takes would stay as they begin.
        self.body = Body(model, norm, inner_steps)
        self.adapted = select(self.body.model, adapt)
        weights = self.body.weights()
        self.rule = rule if isinstance(rule, UpdateRule) else rule({name: weights[name] for name in self.adapted})
        self.inner_steps, self.eval_steps = inner_steps, inner_steps if eval_steps is None else eval_steps
        self.order, self.unroll = order, unroll
        if objective is not None:
            self.objective = objective

    @property
    def steps(self) -> int:
        """Inner steps in the present mode (training or evaluation)."""
        return self.inner_steps if self.training else self.eval_steps

    @property
    def first_order(self) -> bool:
        """Whether inner gradients at present count as constants in the outer gradient."""
        return self.order == 1

    exact_gradient = True

    @property
    def autograd_gradient(self) -> bool:  # type: ignore[override]
        """Whether `task_gradient` at present differentiates the whole graph of `loss`."""
        return self.unroll == "graph" or (
            self.unroll == "auto" and not self.first_order and self.steps <= self.whole_graph_steps
        )

    # --- the inner loop, in pure pieces ---

    def initial(self, support: Examples) -> Weights:
        """Fast weights before the first inner step; of the support set only where a learner says so."""
        weights = self.body.weights()
        return {name: weights[name] for name in self.adapted}

    def all_weights(self, fast: Weights) -> Weights:
        """The weights of the base model that belong to fast weights."""
        return {**self.body.weights(), **fast}

    def start(self, support: Examples) -> State:
        """What is carried from step to step, before the first: fast weights, the rule's state."""
        fast = self.initial(support)
        return {"fast": fast, "rule": self.rule.init(fast)}

    def slope(self, carry: State, support: Examples, k: int) -> tuple[Weights, Statistics]:
        """Gradient of the support loss in the fast weights, and the batch-norm statistics it saw."""

        def support_loss(fast: Weights) -> tuple[Tensor, Statistics]:
            output, seen = self.run(carry, fast, support, k)
            return self.objective.loss(self._slots(output, support.classes), support), seen

        return grad(support_loss, has_aux=True, final=self.first_order)(carry["fast"])

    def run(self, carry: State, fast: Weights, support: Examples, k: int) -> tuple[Tensor, Statistics]:
        """Output of the base model for the support set in inner step ``k``, and the statistics seen."""
        with real_rows(support.mask):
            return self.body(self.all_weights(fast), support.inputs, self.body.given(k))

    def advance(self, carry: State, gradients: Weights, k: int) -> State:
        """The carry after inner step ``k`` with these gradients."""
        fast, rule = self.rule.update(gradients, carry["rule"], carry["fast"], k)
        return {**carry, "fast": fast, "rule": rule}

    def step(self, carry: State, support: Examples, k: int) -> tuple[State, Statistics]:
        """One inner step; returns the new carry and the batch-norm statistics it saw."""
        gradients, seen = self.slope(carry, support, k)
        if self.first_order:
            gradients = {name: g.detach() for name, g in gradients.items()}
        return self.advance(carry, gradients, k), seen

    def finish(self, carry: State, support: Examples) -> State:
        """After the last inner step: the state that `predict` needs."""
        state: State = {"weights": self.all_weights(carry["fast"])}
        if support.classes is not None:
            state["classes"] = support.classes
        return pack_statistics(state, self.given(carry, state["weights"], support))

    def given(self, carry: State, weights: Weights, support: Examples) -> Statistics | None:
        """The statistics with which the adapted weights predict."""
        if self.body.norm != "support":
            return self.body.given(self.steps)
        with real_rows(support.mask):
            return self.body.observe(weights, support.inputs)[1]

    def score(self, carry: State, task: Task, seen: dict[int, Statistics]) -> Outcome:
        """Loss of the carried weights on the query set."""
        state = self.finish(carry, task.support)
        with real_rows(task.query.mask):
            prediction, query_seen = self._predict(state, task.query.inputs)
        buffers = self.body.refreshed({**seen, self.steps: query_seen})
        return self.outcome(prediction, task.query, {f"body.{k}": v for k, v in buffers.items()})

    def stage_weights(self) -> Tensor | None:
        """``[K]`` shares in the outer loss of the query losses after step 1 … K; ``None``: the last alone."""
        return None

    # --- the protocol ---

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """K inner steps on the support set; see `Learner.adapt`.

        Returns:
            ``weights`` (every weight of the base model by name), ``classes`` and, where the norm
            policy fixes them, ``statistics``.
        """
        carry = self.start(support)
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
        carry, seen, stages = self.start(task.support), {}, self.stage_weights()
        losses: list[Tensor] = []
        for k in range(self.steps):
            if stages is not None and k:
                losses.append(stages[k - 1] * self.score(carry, task, {}).loss)
            carry, statistics = self.step(carry, task.support, k)
            if self.body.refreshes:
                seen[k] = statistics
        outcome = self.score(carry, task, seen)
        if stages is None:
            return outcome
        return replace(outcome, loss=torch.stack([*losses, stages[-1] * outcome.loss]).sum())

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """dL_i/dφ, taken as ``unroll`` says; both ways give the same gradient."""
        return super().task_gradient(task) if self.autograd_gradient else stepwise_gradient(self, task)

    def keeps(self) -> set[str]:
        """Only buffers: every weight of the base model is in the state."""
        return {name for name, _ in self.named_buffers()}

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
