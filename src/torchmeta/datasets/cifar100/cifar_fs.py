"""torchmeta's place of CIFARFS; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import CIFARFS, CIFARFSClassDataset

__all__ = ["CIFARFS", "CIFARFSClassDataset"]
