"""Data sets of tasks. Data are read from where they are, see ``docs/torchmeta.md``."""

from __future__ import annotations

import importlib
from typing import Any

from torchmeta.datasets.images import (
    CIFARFS,
    CUB,
    FC100,
    DoubleMNIST,
    MiniImagenet,
    TieredImagenet,
    TripleMNIST,
)
from torchmeta.datasets.multimodalnmt import MultimodalNMT
from torchmeta.datasets.omniglot import Omniglot
from torchmeta.datasets.pascal5i import Pascal5i
from torchmeta.datasets.tabular import Bach, Letter, PlantsMargin, PlantsShape, PlantsTexture
from torchmeta.datasets.tcga import TCGA

__all__ = [
    "CIFARFS",
    "CUB",
    "FC100",
    "TCGA",
    "Bach",
    "DoubleMNIST",
    "Letter",
    "MiniImagenet",
    "MultimodalNMT",
    "Omniglot",
    "Pascal5i",
    "PlantsMargin",
    "PlantsShape",
    "PlantsTexture",
    "TieredImagenet",
    "TripleMNIST",
]

_INSIDE = (
    "helpers",
    "helpers_tabular",
)


def __getattr__(name: str) -> Any:
    """The modules inside, loaded when asked for."""
    if name in _INSIDE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
