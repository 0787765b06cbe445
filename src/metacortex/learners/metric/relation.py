"""Relation networks: the comparison of a query with a class is itself a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm
from metacortex.learners.metric.base import MetricLearner
from metacortex.learners.metric.protonet import class_means
from metacortex.learners.objective import CrossEntropy, hide_padding
from metacortex.task import Examples

__all__ = ["RelationError", "RelationNet", "RelationNetSettings"]


@dataclass(frozen=True)
class RelationNetSettings:
    """Settings of `RelationNet`.

    Attributes:
        hidden: width of the two hidden layers of the relation module.
        loss: ``"mse"``, of sigmoid scores against 1 for the right class and 0 for others (the paper's), or
            ``"ce"``, cross-entropy of the scores.
        norm: batch-norm policy.
    """

    hidden: int = 64
    loss: Literal["mse", "ce"] = "mse"
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise SettingsError(f"hidden must be at least 1, got {self.hidden}")
        if self.loss not in ("mse", "ce"):
            raise SettingsError(f"loss must be 'mse' or 'ce', got '{self.loss}'")
        check_norm("relation", self.norm)


class RelationError(CrossEntropy):
    """Mean over real queries and classes of (σ(logit) − [class is the target])²; metrics as for classes."""

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean squared error of the relation scores of logits ``[N, way]``."""
        errors = (prediction.sigmoid() - F.one_hot(examples.targets, prediction.shape[-1]).to(prediction.dtype)) ** 2
        count = prediction.shape[-1] if examples.classes is None else examples.classes.sum().clamp_min(1)
        # Padding slots are hidden: their score is zero, as it should be, and adds nothing.
        return (errors.sum(-1) / count * examples.weights().to(errors.dtype)).sum()


class RelationNet(MetricLearner):
    """r_c(x) = σ(h([m_c, f(x)])),  m_c = mean of f over the support examples of class c;  φ: f and h.

    h is a multi-layer perceptron on the concatenated features, the logit is its output before σ. The paper
    relates feature maps by convolutions and adds the embeddings of a class; here features are vectors and the mean
    keeps their size whatever the shot.

    Args:
        model: f, embeds inputs as ``[N, D]``; copied, never changed.
        features: D.
        hidden: width of h's two hidden layers.
        loss: ``"mse"`` or ``"ce"``.
        norm: batch-norm policy.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> RelationNet(torch.nn.Identity(), 3).loss(Task.classification(x, y, x, y)).prediction.shape
        torch.Size([3, 3])

    Reference: Sung, Yang, Zhang, Xiang, Torr and Hospedales, "Learning to Compare: Relation Network for
    Few-Shot Learning", 2018, equations 1 and 2.
    """

    name: ClassVar[str] = "relation"
    train_way: ClassVar[int | None] = 20
    train_queries: ClassVar[int | None] = 5
    train_tasks: ClassVar[int] = 2
    default_lr: ClassVar[float] = 2e-3

    def __init__(
        self, model: nn.Module, features: int, hidden: int = 64, loss: str = "mse", norm: str = "running"
    ) -> None:
        RelationNetSettings(hidden, loss, norm)  # type: ignore[arg-type]
        super().__init__(model, norm)
        # The first layer of h is a sum of two: one for the class, one for the query.
        self.of_class = nn.Linear(features, hidden)
        self.of_query = nn.Linear(features, hidden, bias=False)
        self.relate = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        if loss == "mse":
            self.objective = RelationError()

    def fit(self, features: Tensor, support: Examples) -> State:
        """``prototypes`` ``[way, D]`` and ``classes``."""
        return {"prototypes": class_means(features, support), "classes": support.classes}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``."""
        pairs = self.of_query(features)[:, None] + self.of_class(state["prototypes"])[None]  # [N, way, hidden]
        return hide_padding(self.relate(pairs)[..., 0], state["classes"])
