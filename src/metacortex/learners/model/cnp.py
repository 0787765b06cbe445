"""Conditional neural processes: a task is the mean of its embedded examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.learners.base import State
from metacortex.learners.features import class_slots, real, target_matrix
from metacortex.learners.model.base import Role, SupportReader, check_positive
from metacortex.learners.objective import hide_padding
from metacortex.nn.mlp import dense
from metacortex.task import Examples

__all__ = ["CNP", "CNPSettings"]


@dataclass(frozen=True)
class CNPSettings:
    """Settings of `CNP`.

    Attributes:
        width: of encoder, decoder and the representation of an example.
        layers: hidden layers of encoder and decoder.
        uncertainty: regression: predict means and deviations, trained by likelihood; without it,
            means alone, trained by squared error.
        min_deviation: smallest deviation that is predicted, in (0, 1).
        norm: batch-norm policy.
    """

    width: int = 128
    layers: int = 2
    uncertainty: bool = True
    min_deviation: float = 0.1
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        check_positive("neural process", width=self.width, layers=self.layers)


class CNP(SupportReader):
    """r = mean_i h(x_i, y_i);  μ, σ = g(x, r), for regression.

    Classification keeps one mean for each class, so that it serves any number of classes and treats them
    alike: r_c = mean over the examples of class c of h(x_i), r = mean over all, logit of c = g(x, r_c, r).
    (The original concatenates the r_c in the order of the classes, for a fixed number of them.)

    h and g are perceptrons on the features of a body.

    Args:
        model: embeds inputs as ``[N, features]``; copied, never changed.
        features: length of an embedding.
        role: what is to be answered.
        width: see `CNPSettings`, as the rest.
        layers: hidden layers.
        uncertainty: predict deviations.
        min_deviation: smallest deviation.
        norm: batch-norm policy.

    Example:
        >>> x, y = torch.rand(6, 2), torch.rand(6, 1)
        >>> learner = CNP(nn.Identity(), 2, Role("regression", 1))
        >>> learner.predict(learner.adapt(Examples(x, y)), x).shape
        torch.Size([6, 2])

    Reference: Garnelo et al., "Conditional Neural Processes", 2018, equations 1–3.
    """

    name: ClassVar[str] = "cnp"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        role: Role | None = None,
        *,
        width: int = 128,
        layers: int = 2,
        uncertainty: bool = True,
        min_deviation: float = 0.1,
        norm: str = "running",
    ) -> None:
        CNPSettings(width, layers, uncertainty, min_deviation)
        super().__init__(model, norm, role or Role(), uncertainty=uncertainty, min_deviation=min_deviation)
        hidden, targets = [width] * layers, 0 if self.classifies else self.outputs
        self.encoder = dense(features + targets, *hidden, width)
        contexts, numbers = (2, 1) if self.classifies else (1, self.numbers)
        self.decoder = dense(features + contexts * width, *hidden, numbers)

    def encode(self, features: Tensor, support: Examples) -> Tensor:
        """h: the representation ``[N, width]`` of each support example."""
        if self.classifies:
            return self.encoder(features)
        return self.encoder(torch.cat([features, target_matrix(support, features)], 1))

    def fit(self, features: Tensor, support: Examples) -> State:
        """``mean`` ``[1, width]`` and, for classification, ``means`` ``[way, width]`` and ``classes``."""
        encoded = self.encode(features, support)
        state: State = {"mean": _mean(encoded, real(support, features)[:, None]), **class_slots(support)}
        if support.classes is not None:
            state["means"] = _mean(encoded, target_matrix(support, features))
        return state

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``, or what `GaussianLikelihood` or squared error judges."""
        return self.decode(state, features, state.get("means", state["mean"]).expand(features.shape[0], -1, -1))

    def decode(self, state: State, features: Tensor, context: Tensor) -> Tensor:
        """g: the prediction from what each query knows of each class, ``[N, way or 1, width]``."""
        if "classes" not in state:
            return self.answer(self.decoder(torch.cat([features, context[:, 0]], 1)), None)
        shape = context.shape[:2]  # N, way
        parts = [features[:, None].expand(*shape, -1), context, state["mean"].expand(*shape, -1)]
        return hide_padding(self.decoder(torch.cat(parts, 2))[..., 0], state["classes"])


def _mean(encoded: Tensor, members: Tensor) -> Tensor:
    """Means ``[C, D]`` of the rows of ``[N, D]`` that belong to each column of ``[N, C]``; zero where none does."""
    return members.T @ encoded / members.sum(0).clamp_min(1)[:, None]
