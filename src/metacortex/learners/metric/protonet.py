"""Prototypical networks: a class is the mean of its embedded support examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import Learner, Outcome, State
from metacortex.learners.objective import hide_padding
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.body import Body
from metacortex.nn.norm import Statistics, real_rows
from metacortex.task import Examples, Task

__all__ = ["ProtoNet", "ProtoNetSettings", "class_means", "squared_distances"]


@dataclass(frozen=True)
class ProtoNetSettings:
    """Settings of `ProtoNet`.

    Attributes:
        distance: ``"euclid"`` (squared) or ``"cosine"``.
        scale: logits = −scale · distance; 0 means 1 for Euclid and 10 for cosine.
        norm: batch-norm policy. ``"running"`` is the published protocol and inductive.
    """

    distance: Literal["euclid", "cosine"] = "euclid"
    scale: float = 0.0
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.distance not in ("euclid", "cosine"):
            raise SettingsError(f"distance must be 'euclid' or 'cosine', got '{self.distance}'")
        if self.norm == "per-step":
            raise SettingsError(
                "norm 'per-step' needs inner steps; protonet has none: use running, support, query-batch"
            )


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖² for ``[N, D]`` and ``[M, D]``, as ``[N, M]``, never negative.

    *Differentiability*: smooth everywhere, also where a row of ``a`` equals one of ``b``.
    """
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :]
    return (squares - 2 * a @ b.T).clamp_min(0)


def class_means(embeddings: Tensor, support: Examples) -> Tensor:
    """Mean embedding ``[way, D]`` of each class; zero for a slot without examples."""
    members = F.one_hot(support.targets, support.way).to(embeddings.dtype)  # [N, way]
    if support.mask is not None:
        members = members * support.mask.to(embeddings.dtype)[:, None]
    return members.T @ embeddings / members.sum(0).clamp_min(1)[:, None]


def _joined_mask(*parts: Examples) -> Tensor | None:
    if all(part.mask is None for part in parts):
        return None
    return torch.cat([torch.ones_like(p.targets, dtype=torch.bool) if p.mask is None else p.mask for p in parts])


class ProtoNet(Learner):
    """p(y = c | x) ∝ exp(−d(f_φ(x), c_c)), c_c = mean of f_φ over the support examples of class c.

    Serves any number of classes and examples with the same weights.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        distance: ``"euclid"`` (squared Euclidean) or ``"cosine"``.
        scale: factor of the distance in the logits; 0 for the default of the distance.
        norm: batch-norm policy.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> float(ProtoNet(torch.nn.Identity()).loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0

    Reference: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017,
    equations 1 and 2.
    """

    name: ClassVar[str] = "protonet"
    train_way: ClassVar[int | None] = 60
    train_queries: ClassVar[int | None] = 5
    train_tasks: ClassVar[int] = 1
    default_lr: ClassVar[float] = 2e-3

    def __init__(self, model: nn.Module, distance: str = "euclid", scale: float = 0.0, norm: str = "running") -> None:
        super().__init__()
        ProtoNetSettings(distance, scale, norm)  # type: ignore[arg-type]
        self.body = Body(model, norm)
        self.distance = distance
        self.scale = scale or (1.0 if distance == "euclid" else 10.0)

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Embed the support set and average it by class.

        Returns:
            ``prototypes`` ``[way, D]``, ``classes`` and, where the norm policy fixes them, ``statistics``.
        """
        with real_rows(support.mask):
            if self.body.norm == "support":
                embeddings, given = self.body.observe(self.body.weights(), support.inputs)
            else:
                given = self.body.given(0)
                embeddings, _ = self.body(self.body.weights(), support.inputs, given)
        return self._state(embeddings, support, given)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]``: minus the scaled distance to each prototype."""
        return self._logits(state, self.embed(state, inputs))

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Embeddings ``[N, D]``."""
        return self.body(self.body.weights(), inputs, unpack_statistics(state))[0]

    def loss(self, task: Task) -> Outcome:
        """See `Learner.loss`. While training with the batch's statistics, all images pass at once."""
        if not self.training or self.body.norm == "support":
            return super().loss(task)
        rows = task.support.targets.shape[0]
        images = torch.cat([task.support.inputs, task.query.inputs])
        with real_rows(_joined_mask(task.support, task.query)):
            embeddings, seen = self.body(self.body.weights(), images)
        state = self._state(embeddings[:rows], task.support, None)
        buffers = {f"body.{k}": v for k, v in self.body.refreshed({0: seen}).items()}
        return self.outcome(self._logits(state, embeddings[rows:]), task.query, buffers)

    def _state(self, embeddings: Tensor, support: Examples, statistics: Statistics | None) -> State:
        state: State = {"prototypes": class_means(embeddings, support), "classes": support.classes}
        return pack_statistics(state, statistics)

    def _logits(self, state: State, embeddings: Tensor) -> Tensor:
        prototypes = state["prototypes"]
        if self.distance == "cosine":
            similarity = F.normalize(embeddings, dim=-1) @ F.normalize(prototypes, dim=-1).T
            return hide_padding(self.scale * similarity, state["classes"])
        return hide_padding(-self.scale * squared_distances(embeddings, prototypes), state["classes"])
