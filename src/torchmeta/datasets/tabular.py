"""Tables of numbers by torchmeta's names, read from the caches that it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchmeta.datasets.combined import StoredMetaDataset
from torchmeta.datasets.stored import StoredClassDataset, StoredDataset
from torchmeta.transforms.vision import NumpyToTorch

__all__ = [
    "Bach",
    "BachClassDataset",
    "BachDataset",
    "Letter",
    "LetterClassDataset",
    "LetterDataset",
    "PlantsMargin",
    "PlantsMarginClassDataset",
    "PlantsMarginDataset",
    "PlantsShape",
    "PlantsShapeClassDataset",
    "PlantsShapeDataset",
    "PlantsTexture",
    "PlantsTextureClassDataset",
    "PlantsTextureDataset",
]

LetterDataset = PlantsMarginDataset = PlantsShapeDataset = PlantsTextureDataset = BachDataset = StoredDataset


class _Table(StoredClassDataset):
    """Rows of numbers.

    ``process_features`` and ``min_num_samples_per_class`` shaped the download; a cache is read as it is.
    """

    native = 0
    default_transform = NumpyToTorch()

    def __init__(
        self,
        root: str | Path,
        *args: Any,
        process_features: bool | None = None,
        min_num_samples_per_class: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(root, *args, **options)


class LetterClassDataset(_Table):
    """15, 5 and 6 letters, 16 numbers."""

    source = "letter"


class Letter(StoredMetaDataset):
    """Letter recognition; arguments as of `StoredMetaDataset`, and ``process_features``."""

    classes = LetterClassDataset


class PlantsMarginClassDataset(_Table):
    """70, 15 and 15 plants by the margins of their leaves, 64 numbers."""

    source = "plants_margin"


class PlantsMargin(StoredMetaDataset):
    """One hundred plants; arguments as of `StoredMetaDataset`, and ``process_features``."""

    classes = PlantsMarginClassDataset


class PlantsShapeClassDataset(_Table):
    """70, 15 and 15 plants by the shapes of their leaves, 64 numbers."""

    source = "plants_shape"


class PlantsShape(StoredMetaDataset):
    """One hundred plants; arguments as of `StoredMetaDataset`, and ``process_features``."""

    classes = PlantsShapeClassDataset


class PlantsTextureClassDataset(_Table):
    """70, 15 and 15 plants by the textures of their leaves, 64 numbers."""

    source = "plants_texture"


class PlantsTexture(StoredMetaDataset):
    """One hundred plants; arguments as of `StoredMetaDataset`, and ``process_features``."""

    classes = PlantsTextureClassDataset


class BachClassDataset(_Table):
    """Chords of Bach's chorales."""

    source = "bach"


class Bach(StoredMetaDataset):
    """Bach; arguments as of `StoredMetaDataset`, ``process_features`` and ``min_num_samples_per_class``."""

    classes = BachClassDataset
