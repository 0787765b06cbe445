"""Why a learner of regression answered as it did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.errors import LearnerError
from metacortex.explain.change import layer_reuse, weight_changes
from metacortex.explain.explanation import state_reuse
from metacortex.explain.influence import without
from metacortex.learners.objective import GaussianLikelihood
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = [
    "Curve",
    "ValueExplanation",
    "explain_values",
    "jackknife_interval",
    "learned_curve",
    "nearest_other",
    "target_weights",
]

LEVEL = 0.8
"""Share of values that an interval shall hold."""


@dataclass(frozen=True)
class ValueExplanation:
    """Why a query got the value that it got.

    Attributes:
        value: ``[outputs]``.
        influence: ``[N, outputs]``: the value, minus that of the learner adapted without the example.
        similarity: ``[N]``: minus the distance of each support example to the query in embedding space.
        errors: ``[N, outputs]``: target of each support example minus what the learner says of it when adapted
            without it.
        deviation: ``[outputs]`` that the learner predicts itself; ``None`` for those that predict none.
        interval: ``[2, outputs]``, see `jackknife_interval`; ``None`` with too few examples.
        weights: ``[N, outputs]``: by how much the value rises with the target of each example; ``None`` where
            no derivative passes the adaptation.
        prior: ``[outputs]`` what the learner says with no example; ``None`` where it has nothing to say.
        counter_example: the nearest support example whose target is further from the value than is usual
            (the root mean square of ``errors``); -1 where there is none.
        changes: how far each weight moved while adapting; empty where none does.
        reuse: CKA of the features of the support set before and after adapting; ``None`` where no weight moves.
        layers: the same of what each layer gives.
        parts: what each named part of the query (a column, an n-gram) adds to the value; by kind of part.
    """

    value: Tensor
    influence: Tensor
    similarity: Tensor
    errors: Tensor
    deviation: Tensor | None = None
    interval: Tensor | None = None
    weights: Tensor | None = None
    prior: Tensor | None = None
    counter_example: int = -1
    changes: dict[str, float] = field(default_factory=dict)
    reuse: float | None = None
    layers: dict[str, float] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def error(self) -> Tensor:
        """``[outputs]``: root mean square of the errors on left-out examples."""
        return self.errors.square().mean(0).sqrt()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        tensors = ("value", "influence", "similarity", "error", "deviation", "interval", "weights", "prior")
        found = {name: getattr(self, name) for name in tensors}
        return {
            **{name: None if tensor is None else tensor.tolist() for name, tensor in found.items()},
            "counter_example": self.counter_example,
            "changes": self.changes,
            "reuse": self.reuse,
            "layers": self.layers,
            "parts": {kind: dict(parts) for kind, parts in self.parts.items()},
        }


@dataclass(frozen=True)
class Curve:
    """A function of one variable before and after learning.

    Attributes:
        grid: ``[G]`` inputs, rising.
        adapted: ``[G, outputs]``.
        prior: the same with no example; ``None`` where there is nothing to say.
        deviation: ``[G, outputs]`` that the learner predicts itself; ``None`` for those that predict none.
    """

    grid: Tensor
    adapted: Tensor
    prior: Tensor | None = None
    deviation: Tensor | None = None


def explain_values(
    learner: Learner, support: Examples, inputs: Any, *, description: Any = None
) -> list[ValueExplanation]:
    """Explain the values that a learner gives to queries.

    Args:
        learner: of any family, for regression.
        support: ``[N]`` examples without padding; targets ``[N, outputs]``.
        inputs: ``[Q, ...]`` queries.
        description: see `metacortex.learners.base.Learner.adapt`.

    Returns:
        One explanation per query. An only example is left out by comparing with the prior; where that is missing,
        its influence is NaN.
    """
    with evaluating(learner), torch.no_grad(), fused_kernels():
        state = learner.adapt(support, description=description)
        value, deviation = _split(learner, learner.predict(state, inputs))  # [Q, outputs]
        prior_state = _unlearned(learner, support, description)
        prior = None if prior_state is None else _split(learner, learner.predict(prior_state, inputs))[0]
        left, errors = _left_out(learner, support, inputs, prior_state, description, value)
        asked, shown = learner.embed(state, inputs).flatten(1), learner.embed(state, support.inputs).flatten(1)
        similarity = -torch.cdist(asked, shown)  # [Q, N]
    weights = target_weights(learner, support, inputs, description)
    changes = weight_changes(learner, state)
    enough = bool(changes) and len(support.targets) >= 3
    shared = {
        "changes": changes,
        "reuse": state_reuse(learner, state, support) if enough else None,
        "layers": layer_reuse(learner, state, support.inputs) if enough else {},
    }
    return [
        ValueExplanation(
            value[q],
            value[q] - left[:, q],
            similarity[q],
            errors,
            None if deviation is None else deviation[q],
            jackknife_interval(left[:, q], errors),
            None if weights is None else weights[q],
            None if prior is None else prior[q],
            nearest_other(value[q], support.targets, errors, similarity[q]),
            **shared,
        )
        for q in range(len(value))
    ]


def learned_curve(learner: Learner, support: Examples, grid: Tensor, *, description: Any = None) -> Curve:
    """The function before and after adapting, for inputs of one number.

    Args:
        learner: for regression.
        support: ``[N]`` examples with inputs ``[N, 1]``.
        grid: ``[G]`` inputs.
        description: see `metacortex.learners.base.Learner.adapt`.
    """
    with evaluating(learner), torch.no_grad():
        state = learner.adapt(support, description=description)
        adapted, deviation = _split(learner, learner.predict(state, grid[:, None]))
        unlearned = _unlearned(learner, support, description)
        prior = None if unlearned is None else _split(learner, learner.predict(unlearned, grid[:, None]))[0]
    return Curve(grid, adapted, prior, deviation)


def jackknife_interval(left: Tensor, errors: Tensor, level: float = LEVEL) -> Tensor | None:
    """The jackknife+ interval of a prediction.

    With ŷ₋ᵢ the prediction and Rᵢ the absolute error without example i, it reaches from the ⌊(1−level)(N+1)⌋-th
    smallest of ŷ₋ᵢ − Rᵢ to the ⌈level (N+1)⌉-th smallest of ŷ₋ᵢ + Rᵢ. For a query drawn as the examples were, and a
    learner that does not mind their order, it holds the true value with probability at least 2·level − 1, and mostly
    with about `level`, whatever the distribution.

    Args:
        left: ``[N, outputs]`` predictions without each example.
        errors: ``[N, outputs]`` of each example, when it was left out.
        level: in (0, 1).

    Returns:
        ``[2, outputs]``; ``None`` where the examples are too few for an end of the interval.

    Example:
        >>> jackknife_interval(torch.zeros(4, 1), torch.tensor([[1.0], [-2.0], [3.0], [4.0]]))[:, 0].tolist()
        [-4.0, 4.0]

    Reference: Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", 2021, section 1.2.
    """
    count = len(left)
    # Rounded first: 0.2 · 5 must be 1 and not a little less.
    low, high = math.floor(round((1 - level) * (count + 1), 9)), math.ceil(round(level * (count + 1), 9))
    if low < 1 or high > count or not bool(left.isfinite().all() & errors.isfinite().all()):
        return None
    apart = errors.abs()
    return torch.stack([(left - apart).sort(0).values[low - 1], (left + apart).sort(0).values[high - 1]])


def target_weights(learner: Learner, support: Examples, inputs: Any, description: Any = None) -> Tensor | None:
    """By how much the value of a query rises with the target of each support example: ∂ŷ_o / ∂y_io.

    Through the adaptation, whatever it is. For ridge regression and other learners that are linear in the targets
    these are the weights with which the targets are summed; for the rest, those of a small change.

    Args:
        learner: for regression.
        support: ``[N]`` examples with targets ``[N, outputs]``.
        inputs: ``[Q, ...]`` queries.
        description: see `metacortex.learners.base.Learner.adapt`.

    Returns:
        ``[Q, N, outputs]``; ``None`` where no derivative passes.
    """
    targets = support.targets.detach().clone().requires_grad_()
    with evaluating(learner), torch.enable_grad():
        state = learner.adapt(replace(support, targets=targets), description=description)
        value, _ = _split(learner, learner.predict(state, inputs))
        if not value.requires_grad:
            return None
        rows = [
            torch.autograd.grad(value[q, o], targets, retain_graph=True, allow_unused=True)[0]
            for q in range(value.shape[0])
            for o in range(value.shape[1])
        ]
    if any(row is None for row in rows):
        return None
    # [Q * outputs, N, outputs] -> [Q, outputs, N, outputs] -> [Q, N, outputs]: of each output by its own targets
    whole = torch.stack(rows).reshape(*value.shape, *targets.shape)
    return whole.diagonal(dim1=1, dim2=3)


def nearest_other(value: Tensor, targets: Tensor, errors: Tensor, similarity: Tensor) -> int:
    """The nearest example whose target is further from the value ``[outputs]`` than is usual; -1 where none is."""
    usual = errors.square().mean(0).sqrt()
    other = ((targets - value).abs() > usual).any(1)
    return int(similarity.masked_fill(~other, -torch.inf).argmax()) if bool(other.any()) else -1


def _split(learner: Learner, prediction: Tensor) -> tuple[Tensor, Tensor | None]:
    """Values and, where the learner predicts them, deviations."""
    if isinstance(learner.objective, GaussianLikelihood):
        return GaussianLikelihood.split(prediction)
    return prediction, None


def _unlearned(learner: Learner, support: Examples, description: Any) -> State | None:
    """The state of a learner that was shown nothing: all examples masked."""
    nothing = replace(support, mask=torch.zeros(len(support.targets), dtype=torch.bool))
    try:
        state = learner.adapt(nothing, description=description)
        found = learner.predict(state, support.inputs)
    except LearnerError:
        return None
    return state if bool(found.isfinite().all()) else None


def _left_out(
    learner: Learner, support: Examples, inputs: Any, unlearned: State | None, description: Any, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Values of the queries ``[N, Q, outputs]``, and errors of each example ``[N, outputs]``, without it."""
    left, errors = [], []
    for i in range(len(support.targets)):
        if len(support.targets) > 1:
            state = learner.adapt(without(support, i), description=description)
        elif unlearned is not None:
            state = unlearned
        else:
            return torch.full_like(value, torch.nan)[None], torch.full_like(support.targets, torch.nan)
        left.append(_split(learner, learner.predict(state, inputs))[0])
        own = _split(learner, learner.predict(state, support.inputs[i : i + 1]))[0]
        errors.append(support.targets[i] - own[0])
    return torch.stack(left), torch.stack(errors)
