"""Which support examples spoke for an answer, and which against it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.learners.base import Learner

__all__ = ["influences", "log_probabilities", "without"]


def influences(
    learner: Learner,
    support: Examples,
    inputs: Any,
    classes: Tensor,
    *,
    description: Any = None,
    among: Sequence[int] | None = None,
) -> Tensor:
    """How much each support example adds to the log-probability of an answer, by leaving it out.

        I_i(q) = log p(c_q | q, S) − log p(c_q | q, S \\ {i})

    The learner adapts anew without each example, whatever its family: gradient steps, attention and
    prototypes are all gone through as they are. Where an example is the only one of its class, the class
    is left out with it; an answer that thereby becomes impossible counts as one chosen by lot.

    Args:
        learner: of any family, for classification.
        support: ``[N]`` examples.
        inputs: ``[Q, ...]`` queries.
        classes: ``[Q]`` int64, the answer that is explained for each.
        description: see `metacortex.learners.base.Learner.adapt`.
        among: support examples to leave out in turn; all of them when not given.

    Returns:
        ``[Q, N]``: positive where the example spoke for the answer; 0 for padding, and for those not asked about.

    Reference: Cook, "Detection of Influential Observation in Linear Regression", 1977 (leaving one out).
    """
    rows = torch.arange(len(classes))
    with evaluating(learner), torch.no_grad(), fused_kernels():
        full = log_probabilities(learner, support, inputs, description)[rows, classes]  # [Q]
        found = torch.zeros(len(classes), len(support.targets), dtype=full.dtype)
        for i in range(len(support.targets)) if among is None else among:
            if support.mask is not None and not bool(support.mask[i]):
                continue
            rest = without(support, i)
            left = log_probabilities(learner, rest, inputs, description)[rows, classes]
            assert rest.classes is not None
            chance = -math.log(max(int(rest.classes.sum()) + 1, 1))
            found[:, i] = full - torch.where(rest.classes[classes], left, torch.full_like(left, chance))
    return found


def log_probabilities(learner: Learner, support: Examples, inputs: Any, description: Any = None) -> Tensor:
    """Log-probabilities ``[Q, way]`` of a learner adapted to a support set."""
    state = learner.adapt(support, description=description)
    return learner.predict(state, inputs).log_softmax(-1)


def without(support: Examples, index: int) -> Examples:
    """A support set without one example; its class is gone where that was the only one.

    For regression as well, where there are no classes.
    """
    count = len(support.targets)
    mask = torch.ones(count, dtype=torch.bool) if support.mask is None else support.mask.clone()
    mask[index] = False
    keep = mask.nonzero()[:, 0]
    classes = support.classes
    if classes is not None:
        present = torch.zeros(support.way, dtype=torch.bool)
        present[support.targets[keep]] = True
        classes = classes & present
    # Rows are taken out, not masked: the learner sees the task as it would be without them.
    inputs = _rows(support.inputs, keep)
    return replace(support, inputs=inputs, targets=support.targets[keep], mask=None, classes=classes)


def _rows(inputs: Any, keep: Tensor) -> Any:
    from metacortex.tree import tree_map

    return tree_map(lambda x: x[keep], inputs)
