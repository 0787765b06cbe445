"""An explanation: everything that is known of why a learner answered as it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.errors import DataError
from metacortex.explain.change import feature_reuse, weight_changes
from metacortex.explain.influence import influences
from metacortex.explain.pixels import integrated_gradients
from metacortex.nn.mode import evaluating
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["Explanation", "explain"]


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
        pixels: ``[C, H, W']`` what each pixel adds; ``None`` for inputs that are no images.
        changes: how far each weight moved while adapting; empty where none does.
        reuse: CKA of the features of the support set before and after adapting; ``None`` where no weight moves.
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
        }


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
    changes = weight_changes(learner, state)
    reuse = _reuse(learner, state, support) if changes else None
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
        )
        for q in range(len(answers))
    ]


def _reuse(learner: Learner, state: State, support: Examples) -> float | None:
    """CKA before and after, for learners whose state holds the weights of the base model."""
    weights = learner.body.weights()  # type: ignore[union-attr, operator]
    if len(support.targets) < 3:
        return None
    before = {**state, "weights": {**state["weights"], **{k: v for k, v in weights.items() if k in state["weights"]}}}
    found = feature_reuse(learner, before, state, support.inputs)
    return found if found == found else None
