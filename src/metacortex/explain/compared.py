"""What the query was compared with: prototypes and their distances, or attention over the support set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.nn.mode import evaluating

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["prototype_distances", "support_attention"]


def prototype_distances(learner: Learner, state: State, inputs: Any) -> Tensor | None:
    """Euclidean distance of each query to each class's prototype, for learners that have prototypes.

    Args:
        learner: whose state may hold ``prototypes`` ``[way, D]`` in the space of its `Learner.embed`.
        state: what adaptation left.
        inputs: ``[Q, ...]`` queries.

    Returns:
        ``[Q, way]``, infinite for padding classes; ``None`` for learners without prototypes.
    """
    prototypes = state.get("prototypes")
    if not isinstance(prototypes, Tensor):
        return None
    with evaluating(learner), torch.no_grad():
        features = learner.embed(state, inputs).flatten(1)
        if features.shape[1] != prototypes.shape[-1]:
            return None
        found = torch.cdist(features, prototypes)
    classes = state.get("classes")
    return found if classes is None else found.masked_fill(~classes, torch.inf)


def support_attention(learner: Learner, state: State, inputs: Any) -> Tensor | None:
    """How much each query attends to each support example, for learners that answer by attention.

    Args:
        learner: whose `Learner.attends` is asked.
        state: what adaptation left.
        inputs: ``[Q, ...]`` queries.

    Returns:
        ``[Q, N]``, each row summing to one; ``None`` for other learners.
    """
    with evaluating(learner), torch.no_grad():
        return learner.attends(state, inputs)
