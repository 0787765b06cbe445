"""torchmeta's place of PlantsTexture; see `torchmeta.datasets.tabular`."""

from __future__ import annotations

from torchmeta.datasets.tabular import PlantsTexture, PlantsTextureClassDataset, PlantsTextureDataset

__all__ = ["PlantsTexture", "PlantsTextureClassDataset", "PlantsTextureDataset"]
