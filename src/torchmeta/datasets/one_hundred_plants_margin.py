"""torchmeta's place of PlantsMargin; see `torchmeta.datasets.tabular`."""

from __future__ import annotations

from torchmeta.datasets.tabular import PlantsMargin, PlantsMarginClassDataset, PlantsMarginDataset

__all__ = ["PlantsMargin", "PlantsMarginClassDataset", "PlantsMarginDataset"]
