"""Whether a quicker way to a meta-gradient gives the one that it should."""

from __future__ import annotations

import torch

from metacortex.learners.base import Gradients
from metacortex.tree import tree_leaves

__all__ = ["differs"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
"""Of the largest entry."""

_ROUNDED = {"bf16": 0.5, "tf32": 0.1}
"""Of the length of the gradient. Two orders of operations round differently, and where an inner loop amplifies what
was rounded single entries say little; what is wrong is wrong in direction or length."""


def differs(
    got: Gradients, expected: Gradients, precision: str = "float32", dtype: torch.dtype | None = None
) -> str | None:
    """By how much one gradient differs from another, in words; ``None`` where rounding explains it.

    Args:
        got: by parameter name.
        expected: of at least the same names.
        precision: in which both were computed.
        dtype: in which both were computed, where it is not that of the gradients: sums over tasks are wider.

    Example:
        >>> differs({"w": torch.ones(2)}, {"w": torch.ones(2)}) is None
        True
        >>> differs({"w": torch.ones(2)}, {"w": torch.tensor([1.0, 2.0])})
        '5.0e-01 of the largest entry'
    """
    dtype = next(iter(expected.values())).dtype if dtype is None else dtype
    if precision in _ROUNDED and dtype != torch.float64:
        a, b = (torch.cat([x[name].flatten().double() for name in expected]) for x in (got, expected))
        distance = float((a - b).norm() / b.norm().clamp_min(1e-12))
        return None if distance <= _ROUNDED[precision] else f"{distance:.1e} of its length"
    distance = _gap(got, expected)
    return None if distance <= _TOLERANCE.get(dtype, 5e-2) else f"{distance:.1e} of the largest entry"


def _gap(got: Gradients, expected: Gradients) -> float:
    """Largest difference, relative to the largest entry; NaN where either has one."""
    largest = max((float(x.abs().max()) for x in tree_leaves(expected) if x.numel()), default=0.0)
    differences = [float((got[name] - x).abs().max()) for name, x in expected.items() if x.numel()]
    worst = float(torch.tensor(differences).max()) if differences else 0.0
    return worst / max(largest, 1e-12)
