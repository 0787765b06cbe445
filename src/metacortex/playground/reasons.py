"""Why an answer: which drawings spoke for it, which pixels, and where everything lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.estimators.adapted import HeadAdapted, as_tensor
from metacortex.estimators.left_out import head_influences
from metacortex.explain.influence import influences
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.playground.teacher import Learned, Reply

__all__ = ["drawing_influences", "flat_map", "pixel_shares"]

Array = NDArray[np.float64]
_STEPS = 12
"""Of the integral over the way from an empty picture to the query."""


def drawing_influences(learned: Learned, reply: Reply) -> Array:
    """How much each drawing adds to the log-probability of the answer, ``[N]``, by leaving it out.

        I_i = log p(c | q, S) − log p(c | q, S \\ {i})

    For closed-form heads exactly, without fitting again (`metacortex.estimators.left_out.head_influences`); a learner
    that adapts in its own way adapts anew without each drawing (`metacortex.explain.influence.influences`).

    Args:
        learned: from which drawings.
        reply: the answer that is explained.
    """
    adapted, slot = learned.adapted, reply.slot
    if not isinstance(adapted, HeadAdapted):
        way = torch.ones(len(learned.concepts), dtype=torch.bool)
        support = Examples(as_tensor(learned.inputs), torch.from_numpy(learned.targets), classes=way)
        source = learned.teacher.source
        found = influences(source.learner, support, as_tensor(reply.inputs), torch.tensor([slot]))
        return found[0].double().numpy()
    views = learned.teacher.views(adapted.features, learned.inputs)
    query = adapted.features(reply.inputs)
    way = len(learned.concepts)
    return head_influences(adapted.head, adapted.temperature, views, learned.targets, way, query)[0]


def pixel_shares(learned: Learned, reply: Reply) -> Array:
    """What each pixel adds to the log-probability of the answer, ``[H, W]``: integrated gradients from an empty one.

        A_j = x_j ∫_0^1 ∂ log p(c | t x) / ∂x_j dt

    Reference: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", 2017, equation 1.
    """
    x = as_tensor(reply.inputs)
    shares = (torch.arange(_STEPS) + 0.5) / _STEPS
    path = (shares[:, None, None, None] * x).requires_grad_()  # [steps, C, H, W]
    with torch.enable_grad():
        score = learned.module(path).log_softmax(-1)[:, reply.slot].sum()
        (slope,) = torch.autograd.grad(score, path)
    return (x[0] * slope.mean(0)).sum(0).double().numpy()


def flat_map(learned: Learned, reply: Reply) -> tuple[Array, Array]:
    """Drawings ``[N, 2]`` and query ``[2]`` on a flat map, within −1..1: their two principal directions.

    Near on the map is near in the features on which the learner decides, as far as two directions can show it.
    """
    features = learned.classifier.support_features_
    query = learned.adapted.embed(reply.inputs)
    rows = np.concatenate([features, query]) - features.mean(0)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    flat = np.zeros((len(rows), 2))
    found = rows @ directions[:2].T
    flat[:, : found.shape[1]] = found
    flat /= max(float(np.abs(flat).max()), 1e-12)
    return flat[:-1], flat[-1]
