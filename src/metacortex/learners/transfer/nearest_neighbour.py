"""No learning at all: the class of the nearest support example, by pixels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from metacortex.learners.base import Learner, State
from metacortex.learners.metric.protonet import squared_distances
from metacortex.learners.objective import hide_padding
from metacortex.task import Examples

__all__ = ["NearestNeighbour"]


class NearestNeighbour(Learner):
    """logit of class c = −min ‖x − x_i‖² over its support examples; φ is empty."""

    name: ClassVar[str] = "nearest_neighbour"
    trains_on: ClassVar[Literal["episodes", "batches", "nothing"]] = "nothing"

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Keep the flattened support set: ``examples`` ``[N, D]``, ``members`` ``[N, way]``, ``classes``."""
        members = support.targets[:, None] == torch.arange(support.way, device=support.targets.device)
        if support.mask is not None:
            members = members & support.mask[:, None]
        return {"examples": support.inputs.flatten(1), "members": members, "classes": support.classes}

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]``."""
        distances = squared_distances(self.embed(state, inputs), state["examples"])  # [N, M]
        far = torch.finfo(distances.dtype).max / 4
        per_class = distances[:, :, None].masked_fill(~state["members"], far).amin(1)  # [N, way]
        return hide_padding(-per_class, state["classes"])

    def embed(self, state: State, inputs: Any) -> Tensor:
        """The pixels ``[N, D]``."""
        return inputs.flatten(1)
