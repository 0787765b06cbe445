"""Inner loops, prototypes, matching, ridge regression, and data."""

from __future__ import annotations

import importlib
from typing import Any

from torchmeta.utils.gradient_based import gradient_update_parameters

__all__ = ["gradient_update_parameters"]

_INSIDE = (
    "data",
    "gradient_based",
    "matching",
    "metrics",
    "prototype",
    "r2d2",
    "wrappers",
)


def __getattr__(name: str) -> Any:
    """The modules inside, loaded when asked for."""
    if name in _INSIDE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
