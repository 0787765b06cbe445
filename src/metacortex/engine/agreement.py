"""Whether a quicker way to a meta-gradient gives the one that it should."""

from __future__ import annotations

import torch

from metacortex.learners.base import Gradients
from metacortex.tree import tree_leaves

__all__ = ["gap", "tolerance"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
_ROUNDED = {"bf16": 1e-1, "tf32": 2e-2}
"""Two orders of operations round differently, and what is nearly zero most of all."""


def gap(got: Gradients, expected: Gradients) -> float:
    """Largest difference, relative to the largest entry; NaN where either has one."""
    largest = max((float(x.abs().max()) for x in tree_leaves(expected) if x.numel()), default=0.0)
    differences = [float((got[name] - x).abs().max()) for name, x in expected.items() if x.numel()]
    worst = float(torch.tensor(differences).max()) if differences else 0.0
    return worst / max(largest, 1e-12)


def tolerance(gradients: Gradients, precision: str) -> float:
    """The largest `gap` that rounding explains."""
    dtype = next(iter(gradients.values())).dtype
    if dtype == torch.float64:
        return _TOLERANCE[dtype]
    return _ROUNDED.get(precision, _TOLERANCE.get(dtype, 5e-2))
