"""No learning at all: the class of the nearest support example, by pixels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from metacortex.learners.base import Learner, State
from metacortex.learners.metric.protonet import squared_distances
from metacortex.learners.objective import hide_padding
from metacortex.task import Examples

__all__ = ["NearestNeighbour", "keep_examples", "nearest_logits"]


class NearestNeighbour(Learner):
    """logit of class c = −min ‖x − x_i‖² over its support examples; φ is empty.

    Reference: Cover and Hart, "Nearest Neighbor Pattern Classification", 1967.
    """

    name: ClassVar[str] = "nearest_neighbour"
    trains_on: ClassVar[Literal["episodes", "batches", "nothing"]] = "nothing"

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Keep the flattened support set: ``examples`` ``[N, D]``, ``members`` ``[N, way]``, ``classes``."""
        return keep_examples(support.inputs.flatten(1), support)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]``."""
        return nearest_logits(state, self.embed(state, inputs))

    def embed(self, state: State, inputs: Any) -> Tensor:
        """The pixels ``[N, D]``."""
        return inputs.flatten(1)


def keep_examples(features: Tensor, support: Examples) -> State:
    """A state of ``examples`` ``[N, D]``, ``members`` ``[N, way]`` bool, False for padding rows, and ``classes``."""
    members = support.targets[:, None] == torch.arange(support.way, device=support.targets.device)
    if support.mask is not None:
        members = members & support.mask[:, None]
    return {"examples": features, "members": members, "classes": support.classes}


def nearest_logits(state: State, features: Tensor, neighbours: int = 1) -> Tensor:
    """Minus the mean squared distance to the nearest examples of each class.

    Args:
        state: see `keep_examples`.
        features: ``[N, D]``.
        neighbours: how many of each class; all of a class that has fewer.

    Returns:
        Logits ``[N, way]``.
    """
    distances = squared_distances(features, state["examples"])  # [N, M]
    far = torch.finfo(distances.dtype).max / 4
    per_class = distances[:, :, None].masked_fill(~state["members"], far)  # [N, M, way]
    if neighbours == 1:
        return hide_padding(-per_class.amin(1), state["classes"])
    nearest = per_class.topk(min(neighbours, per_class.shape[1]), dim=1, largest=False).values
    real = nearest < far
    mean = nearest.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp_min(1)
    return hide_padding(-mean.masked_fill(~real.any(1), far), state["classes"])
