"""torchmeta's place of TieredImagenet; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import TieredImagenet, TieredImagenetClassDataset, TieredImagenetDataset

__all__ = ["TieredImagenet", "TieredImagenetClassDataset", "TieredImagenetDataset"]
