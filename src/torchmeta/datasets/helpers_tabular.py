"""Tables with the usual transform, split, labelled and seeded, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchmeta.datasets.helpers import helper_with_default
from torchmeta.datasets.tabular import Bach, Letter, PlantsMargin, PlantsShape, PlantsTexture
from torchmeta.transforms.vision import NumpyToTorch

__all__ = ["bach", "letter", "plants_margin", "plants_shape", "plants_texture"]


def letter(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Letter:
    """Letter recognition; arguments as of `torchmeta.datasets.helpers.helper_with_default`."""
    usual = {"transform": NumpyToTorch()}
    return helper_with_default(Letter, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)


def plants_texture(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> PlantsTexture:
    """Plants by the textures of their leaves; arguments as of `torchmeta.datasets.helpers.helper_with_default`."""
    usual = {"transform": NumpyToTorch()}
    return helper_with_default(PlantsTexture, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)


def plants_shape(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> PlantsShape:
    """Plants by the shapes of their leaves; arguments as of `torchmeta.datasets.helpers.helper_with_default`."""
    usual = {"transform": NumpyToTorch()}
    return helper_with_default(PlantsShape, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)


def plants_margin(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> PlantsMargin:
    """Plants by the margins of their leaves; arguments as of `torchmeta.datasets.helpers.helper_with_default`."""
    usual = {"transform": NumpyToTorch()}
    return helper_with_default(PlantsMargin, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)


def bach(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Bach:
    """Chords of Bach's chorales; arguments as of `torchmeta.datasets.helpers.helper_with_default`."""
    usual = {"transform": NumpyToTorch()}
    return helper_with_default(Bach, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)
