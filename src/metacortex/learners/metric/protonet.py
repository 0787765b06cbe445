"""Prototypical networks: a class is the mean of its embedded support examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm, members
from metacortex.learners.metric.base import MetricLearner
from metacortex.learners.objective import hide_padding
from metacortex.task import Examples

__all__ = ["ProtoNet", "ProtoNetSettings", "class_means", "squared_distances"]


@dataclass(frozen=True)
class ProtoNetSettings:
    """Settings of `ProtoNet`.

    Attributes:
        distance: ``"euclid"`` (squared) or ``"cosine"``.
        scale: logits = −scale · distance; 0 means 1 for Euclid and 10 for cosine.
        norm: batch-norm policy. ``"running"`` is the published protocol and inductive.
        learn_scale: learn the scale (a temperature), starting from ``scale``.
    """

    distance: Literal["euclid", "cosine"] = "euclid"
    scale: float = 0.0
    norm: Literal["query-batch", "support", "running"] = "running"
    learn_scale: bool = False

    def __post_init__(self) -> None:
        if self.distance not in ("euclid", "cosine"):
            raise SettingsError(f"distance must be 'euclid' or 'cosine', got '{self.distance}'")
        if not self.scale >= 0:
            raise SettingsError(f"a scale is positive, or 0 for that of the distance, got {self.scale}")
        check_norm("protonet", self.norm)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖² for ``[N, D]`` and ``[M, D]``, as ``[N, M]``, never negative.

    *Differentiability*: smooth everywhere, also where a row of ``a`` equals one of ``b``.
    """
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :]
    return (squares - 2 * a @ b.T).clamp_min(0)


def class_means(embeddings: Tensor, support: Examples) -> Tensor:
    """Mean embedding ``[way, D]`` of each class; zero for a slot without examples."""
    slots = members(support, embeddings)  # [N, way]
    return slots.T @ embeddings / slots.sum(0).clamp_min(1)[:, None]


class ProtoNet(MetricLearner):
    """p(y = c | x) ∝ exp(−s · d(f_φ(x), c_c)), c_c = mean of f_φ over the support examples of class c.

    Serves any number of classes and examples with the same weights.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        distance: ``"euclid"`` (squared Euclidean) or ``"cosine"``.
        scale: s; 0 for the default of the distance.
        norm: batch-norm policy.
        learn_scale: make log s a parameter.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> float(ProtoNet(torch.nn.Identity()).loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0

    Reference: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017,
    equations 1 and 2; learned scale: Oreshkin, Rodríguez López and Lacoste, "TADAM: Task dependent
    adaptive metric for improved few-shot learning", 2018, equation 2.
    """

    name: ClassVar[str] = "protonet"
    train_way: ClassVar[int | None] = 60
    train_queries: ClassVar[int | None] = 5
    train_tasks: ClassVar[int] = 1
    default_lr: ClassVar[float] = 2e-3

    def __init__(
        self,
        model: nn.Module,
        distance: str = "euclid",
        scale: float = 0.0,
        norm: str = "running",
        learn_scale: bool = False,
    ) -> None:
        ProtoNetSettings(distance, scale, norm, learn_scale)  # type: ignore[arg-type]
        super().__init__(model, norm)
        self.distance = distance
        self.scale = scale or (1.0 if distance == "euclid" else 10.0)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.scale))) if learn_scale else None

    def fit(self, features: Tensor, support: Examples) -> State:
        """``prototypes`` ``[way, D]`` and ``classes``."""
        return {"prototypes": class_means(features, support), "classes": support.classes}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``: minus the scaled distance to each prototype."""
        prototypes = state["prototypes"]
        scale = self.scale if self.log_scale is None else self.log_scale.exp()
        if self.distance == "cosine":
            similarity = F.normalize(features, dim=-1) @ F.normalize(prototypes, dim=-1).T
            return hide_padding(scale * similarity, state["classes"])
        return hide_padding(-scale * squared_distances(features, prototypes), state["classes"])
