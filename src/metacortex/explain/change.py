"""What adaptation changed: how far each layer moved, and whether its features were used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.nn.mode import evaluating

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["centred_alignment", "feature_reuse", "weight_changes"]


def centred_alignment(a: Tensor, b: Tensor) -> float:
    """Linear CKA of two sets of features of the same inputs, 0 to 1: ‖Bᵀ A‖² / (‖Aᵀ A‖ ‖Bᵀ B‖), columns centred.

    Args:
        a: ``[N, D]``.
        b: ``[N, E]``.

    Returns:
        1 where the one is the other turned and scaled; NaN where a set does not vary.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> round(centred_alignment(x, -3 * x.flip(1)), 6)
        1.0

    Reference: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, section 3;
    for adaptation: Raghu et al., "Rapid Learning or Feature Reuse?", 2020.
    """
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    return float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))


def weight_changes(learner: Learner, state: State) -> dict[str, float]:
    """How far each weight moved, ‖θ' − θ‖ / ‖θ‖, for learners whose state holds adapted weights.

    Returns:
        By name of the base model's parameter, in its order; empty for learners that change no weight.
    """
    body = getattr(learner, "body", None)
    model = getattr(body, "model", None)
    weights: Any = state.get("weights")
    if model is None or not isinstance(weights, dict):
        return {}
    found = {}
    for name, before in model.named_parameters():
        if name in weights:
            size = float(before.detach().norm())
            found[name] = float((weights[name].detach() - before.detach()).norm()) / max(size, 1e-12)
    return found


def feature_reuse(learner: Learner, before: State, after: State, inputs: Any) -> float:
    """CKA of the features before and after adaptation: near 1 means that what was learned before was used again.

    Args:
        learner: whose `metacortex.learners.base.Learner.embed` gives features.
        before: state without adaptation, e.g. with weights as they were.
        after: state after it.
        inputs: ``[N, ...]`` inputs, at least three.
    """
    with evaluating(learner), torch.no_grad():
        return centred_alignment(learner.embed(before, inputs).flatten(1), learner.embed(after, inputs).flatten(1))
