"""torchmeta's place of CUB; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import CUB, CUBClassDataset, CUBDataset

__all__ = ["CUB", "CUBClassDataset", "CUBDataset"]
