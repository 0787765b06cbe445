"""The metric family: learners that hold queries against embedded support examples, trained on episodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metacortex.learners.base import Outcome
from metacortex.learners.features import FeatureLearner
from metacortex.nn.body import Body
from metacortex.nn.norm import real_rows
from metacortex.task import Examples, Task
from metacortex.tree import tree_map

__all__ = ["MetricLearner"]


class MetricLearner(FeatureLearner):
    """A `FeatureLearner` whose embedding is meta-trained on episodes.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        norm: batch-norm policy.
    """

    def __init__(self, model: nn.Module, norm: str) -> None:
        super().__init__()
        self.body = Body(model, norm)

    def loss(self, task: Task) -> Outcome:
        """See `Learner.loss`. While training with the batch's statistics, all inputs pass at once."""
        if not self.training or self.body.norm == "support":
            return super().loss(task)
        rows = task.support.targets.shape[0]
        inputs = tree_map(lambda a, b: torch.cat([a, b]), task.support.inputs, task.query.inputs)
        with real_rows(_joined_mask(task.support, task.query)):
            features, seen = self.body(self.body.weights(), inputs)
        state = self.fit(features[:rows], task.support)
        buffers = {f"body.{k}": v for k, v in self.body.refreshed({0: seen}).items()}
        return self.outcome(self.compare(state, features[rows:]), task.query, buffers)


def _joined_mask(*parts: Examples) -> Tensor | None:
    if all(part.mask is None for part in parts):
        return None
    return torch.cat(
        [
            torch.ones(p.targets.shape[0], dtype=torch.bool, device=p.targets.device) if p.mask is None else p.mask
            for p in parts
        ]
    )
