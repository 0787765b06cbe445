"""Learners that see examples through features which adaptation leaves as they are.

    f_φ(T)(x) = compare(fit({(g_φ(x_i), y_i)}), g_φ(x))

g is the embedding (the body); what a learner adds is what it keeps of the support features (`fit`) and how a
query is held against it (`compare`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.learners.base import Learner, State
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.body import Body
from metacortex.nn.norm import real_rows
from metacortex.task import Examples

__all__ = ["FeatureLearner", "check_norm", "class_slots", "members", "real", "target_matrix", "unit", "with_ones"]


class FeatureLearner(Learner):
    """A learner that adapts on features; subclasses set ``body`` and write `fit` and `compare`."""

    body: Body

    @abstractmethod
    def fit(self, features: Tensor, support: Examples) -> State:
        """What is kept of the support set.

        Args:
            features: ``[N, D]`` of the support inputs, padding rows included.
            support: targets and masks.

        Returns:
            A pytree of tensors without the key ``statistics``.
        """

    @abstractmethod
    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]`` of query features ``[N, D]``."""

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Embed the support set and fit to it.

        Returns:
            What `fit` keeps and, where the norm policy fixes them, ``statistics``.
        """
        with real_rows(support.mask):
            if self.body.norm == "support":
                features, given = self.body.observe(self.body.weights(), support.inputs)
            else:
                given = self.body.given(0)
                features, _ = self.body(self.body.weights(), support.inputs, given)
        return pack_statistics(self.fit(features, support), given)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]``."""
        return self.compare(state, self.embed(state, inputs))

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Features ``[N, D]``."""
        return self.body(self.body.weights(), inputs, unpack_statistics(state))[0]


def check_norm(learner: str, norm: str) -> None:
    """Refuse the norm policy of learners with inner steps.

    Raises:
        SettingsError: for ``"per-step"``.
    """
    if norm == "per-step":
        raise SettingsError(f"norm 'per-step' needs inner steps; {learner} has none: use running, support, query-batch")


def class_slots(support: Examples) -> State:
    """The part of a state that says which class slots are real; empty for regression."""
    return {} if support.classes is None else {"classes": support.classes}


def real(support: Examples, like: Tensor) -> Tensor:
    """``[N]``: 1 for real rows, 0 for padding, in the dtype and on the device of ``like``."""
    if support.mask is None:
        return like.new_ones(support.targets.shape[0])
    return support.mask.to(like.dtype)


def members(support: Examples, like: Tensor) -> Tensor:
    """One-hot class of each example, ``[N, way]`` in the dtype of ``like``; padding rows are zero.

    Raises:
        DataError: for regression examples, which have no classes.
    """
    # Not F.one_hot, which fails where a gradient is taken inside vmap.
    slots = torch.arange(support.way, device=support.targets.device)
    rows = (support.targets[:, None] == slots).to(like.dtype)
    return rows if support.mask is None else rows * support.mask.to(like.dtype)[:, None]


def target_matrix(support: Examples, like: Tensor) -> Tensor:
    """What a linear model is fitted to: `members`, or the targets ``[N, outputs]`` of a regression."""
    if support.classes is not None:
        return members(support, like)
    return support.targets.to(like.dtype) * real(support, like)[:, None]


def unit(x: Tensor) -> Tensor:
    """x / √(‖x‖² + 1e-8) along the last axis.

    *Differentiability*: smooth, also at zero, where features that a ReLU cut off entirely lie.
    """
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-8)


def with_ones(features: Tensor) -> Tensor:
    """``[N, D]`` -> ``[N, D + 1]``: a last column of ones, whose weights are the intercept."""
    return torch.cat([features, torch.ones_like(features[:, :1])], 1)
