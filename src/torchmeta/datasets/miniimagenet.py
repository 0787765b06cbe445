"""torchmeta's place of MiniImagenet; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import MiniImagenet, MiniImagenetClassDataset, MiniImagenetDataset

__all__ = ["MiniImagenet", "MiniImagenetClassDataset", "MiniImagenetDataset"]
