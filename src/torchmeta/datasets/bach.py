"""torchmeta's place of Bach; see `torchmeta.datasets.tabular`."""

from __future__ import annotations

from torchmeta.datasets.tabular import Bach, BachClassDataset, BachDataset

__all__ = ["Bach", "BachClassDataset", "BachDataset"]
