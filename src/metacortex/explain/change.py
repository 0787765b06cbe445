"""What adaptation changed: how far each weight moved, and which layers' features were used again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from metacortex.nn.mode import evaluating

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["centred_alignment", "feature_reuse", "layer_reuse", "weight_changes"]


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
    # By the examples' inner products, of which there are fewer than of the features: ‖BᵀA‖² = ⟨AAᵀ, BBᵀ⟩.
    one, other = a @ a.T, b @ b.T
    return float((one * other).sum() / (one.norm() * other.norm()))


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


def layer_reuse(learner: Learner, state: State, inputs: Any) -> dict[str, float]:
    """CKA of what each layer gives before and after adaptation, for learners whose state holds adapted weights.

    Args:
        learner: a copy of it is looked into; it stays as it is.
        state: what adaptation left.
        inputs: ``[N, ...]`` inputs, at least three.

    Returns:
        By name of the layers with weights, in the order in which they are called; layers that give the same for
        all inputs are left out. Empty for learners that change no weight.
    """
    if not weight_changes(learner, state):
        return {}
    body: Any = copy.deepcopy(learner.body).eval()  # type: ignore[union-attr]
    before = {name: weight.detach() for name, weight in body.weights().items()}
    adapted = {k: w.detach() for k, w in state["weights"].items() if k in before}
    one, other = (_layers(body, weights, inputs) for weights in (before, {**before, **adapted}))
    found = {name: centred_alignment(one[name], other[name]) for name in one}
    return {name: alike for name, alike in found.items() if alike == alike}


def _layers(body: Any, weights: Mapping[str, Tensor], inputs: Any) -> dict[str, Tensor]:
    """What each layer with weights of its own gives, ``[N, D]``."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, came: Any) -> None:
            if isinstance(came, Tensor) and came.dim() > 1:
                found[name] = came.detach().flatten(1)

        return hook

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in body.model.named_modules()
        if name and any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            body(weights, inputs, body.given(0))
    finally:
        for hook in hooks:
            hook.remove()
    return found
