"""Inner loops, prototypes, matching, ridge regression, and data."""

from __future__ import annotations

from torchmeta.utils.gradient_based import gradient_update_parameters

__all__ = ["gradient_update_parameters"]
