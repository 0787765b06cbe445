"""torchmeta's place of FC100; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import FC100, FC100ClassDataset

__all__ = ["FC100", "FC100ClassDataset"]
