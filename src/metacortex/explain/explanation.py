"""An explanation: everything that is known of why a learner answered as it did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.errors import DataError
from metacortex.explain.change import feature_reuse, layer_reuse, weight_changes
from metacortex.explain.compared import prototype_distances, support_attention
from metacortex.explain.influence import influences
from metacortex.explain.pixels import integrated_gradients, support_gradients
from metacortex.nn.mode import evaluating
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["Explanation", "explain", "state_reuse"]


@dataclass(frozen=True)
class Explanation:
    """Why a learner answered a query as it did.

    Attributes:
        answer: class slot of the answer.
        probabilities: ``[way]``, divided by the temperature of the run where it has one.
        influence: ``[N]``: how much each support example adds to the log-probability of the answer.
        similarity: ``[N]``: minus the distance of each support example to the query in embedding space.
        counter_example: support example of another class that is nearest to the query; -1 with one class.
        runner_up: class slot of the second best answer; -1 with one class.
        pixels: ``[C, H, W']`` what each pixel adds to the log-odds of the answer; ``None`` for inputs that are no
            images.
        changes: how far each weight moved while adapting; empty where none does.
        reuse: CKA of the features of the support set before and after adapting; ``None`` where no weight moves.
        layers: the same of what each layer gives; empty where no weight moves.
        support_pixels: ``[N, C, H, W']`` what each pixel of the support set adds to the log-odds of the answer,
            through the adaptation; ``None`` for inputs that are no images, or where no gradient passes.
        distances: ``[way]`` to the prototype of each class, for learners that have prototypes.
        attention: ``[N]`` share of each support example, for learners that answer by attention.
        parts: what each named part of the query (a column, an n-gram) adds to the log-odds of the answer; by kind
            of part. Empty for images.
        novelty: how far the query is from all classes, and above what it is none of them; ``None`` where that is
            not measured.
    """

    answer: int
    probabilities: Tensor
    influence: Tensor
    similarity: Tensor
    counter_example: int
    runner_up: int
    pixels: Tensor | None
    changes: dict[str, float]
    reuse: float | None
    layers: dict[str, float] = field(default_factory=dict)
    support_pixels: Tensor | None = None
    distances: Tensor | None = None
    attention: Tensor | None = None
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    novelty: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values, pixels left out."""
        return {
            "answer": self.answer,
            "probabilities": self.probabilities.tolist(),
            "influence": self.influence.tolist(),
            "similarity": self.similarity.tolist(),
            "counter_example": self.counter_example,
            "runner_up": self.runner_up,
            "changes": self.changes,
            "reuse": self.reuse,
            "layers": self.layers,
            "distances": None if self.distances is None else _finite(self.distances),
            "attention": None if self.attention is None else self.attention.tolist(),
            "parts": {kind: dict(parts) for kind, parts in self.parts.items()},
            "novelty": None if self.novelty is None else list(self.novelty),
        }


def _finite(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def explain(
    learner: Learner,
    support: Examples,
    inputs: Any,
    *,
    description: Any = None,
    temperature: float = 1.0,
    pixels: bool = True,
) -> list[Explanation]:
    """Explain the answers to queries.

    Args:
        learner: of any family, for classification.
        support: what it adapts on; at least two classes.
        inputs: ``[Q, ...]`` queries.
        description: see `metacortex.learners.base.Learner.adapt`.
        temperature: logits are divided by it, see `metacortex.evaluation.calibration`.
        pixels: also say which pixels mattered (images only, needs captum).

    Returns:
        One explanation per query.

    Raises:
        DataError: for a support set of fewer than two classes.
        MissingExtraError: if pixels are asked for and captum is not installed.
    """
    if support.way < 2:
        raise DataError(f"an explanation needs at least two classes to choose from, got {support.way}")
    with evaluating(learner), torch.no_grad():
        state = learner.adapt(support, description=description)
        probabilities = (learner.predict(state, inputs) / temperature).softmax(-1)  # [Q, way]
        shown, asked = learner.embed(state, support.inputs).flatten(1), learner.embed(state, inputs).flatten(1)
        similarity = -torch.cdist(asked, shown)  # [Q, N]
    order = probabilities.argsort(-1, descending=True)
    answers = order[:, 0]
    share = influences(learner, support, inputs, answers, description=description)
    images = isinstance(inputs, Tensor) and inputs.dim() == 4
    seen = integrated_gradients(learner, state, inputs, answers) if pixels and images else None
    taught = _through(learner, support, inputs, answers, description) if pixels and images else None
    apart = prototype_distances(learner, state, inputs)
    attention = support_attention(learner, state, inputs)
    changes = weight_changes(learner, state)
    enough = bool(changes) and len(support.targets) >= 3
    reuse = state_reuse(learner, state, support) if enough else None
    layers = layer_reuse(learner, state, support.inputs) if enough else {}
    others = support.targets[None, :] != answers[:, None]  # [Q, N]
    if support.mask is not None:
        others &= support.mask
    nearest = similarity.masked_fill(~others, -torch.inf).argmax(-1)
    return [
        Explanation(
            int(answers[q]),
            probabilities[q],
            share[q],
            similarity[q],
            int(nearest[q]) if bool(others[q].any()) else -1,
            int(order[q, 1]) if order.shape[1] > 1 else -1,
            None if seen is None else seen[q],
            changes,
            reuse,
            layers,
            None if taught is None else taught[q],
            None if apart is None else apart[q],
            None if attention is None else attention[q],
        )
        for q in range(len(answers))
    ]


def _through(learner: Learner, support: Examples, inputs: Any, answers: Tensor, description: Any) -> Tensor | None:
    """Attributions of the support images, for learners that pass a gradient to them."""
    found = support_gradients(learner, support, inputs, answers, description=description)
    return found if bool(found.any()) else None


def state_reuse(learner: Learner, state: State, support: Examples) -> float | None:
    """CKA before and after, for learners whose state holds the weights of the base model."""
    weights = learner.body.weights()  # type: ignore[union-attr, operator]
    before = {**state, "weights": {**state["weights"], **{k: v for k, v in weights.items() if k in state["weights"]}}}
    found = feature_reuse(learner, before, state, support.inputs)
    return found if found == found else None
