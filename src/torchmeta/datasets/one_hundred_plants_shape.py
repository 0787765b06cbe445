"""torchmeta's place of PlantsShape; see `torchmeta.datasets.tabular`."""

from __future__ import annotations

from torchmeta.datasets.tabular import PlantsShape, PlantsShapeClassDataset, PlantsShapeDataset

__all__ = ["PlantsShape", "PlantsShapeClassDataset", "PlantsShapeDataset"]
