"""CUB-200-2011: 200 species of birds, 11,788 photographs.

Reference: Wah, Branson, Welinder, Perona and Belongie, "The Caltech-UCSD Birds-200-2011 Dataset" (2011);
split by Chen, Liu, Kira, Wang and Huang, "A Closer Look at Few-shot Classification" (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.hdf5 import SPLIT_FILES
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pictures import Shape, read_folders
from metacortex.data.dataset import Dataset, square

__all__ = ["CUB", "load_cub"]


def load_cub(
    *,
    size: int = 84,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """CUB-200-2011: 100, 50 and 50 species; whole pictures, stretched to a square.

    Args:
        size: pixels on a side.
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not the published classes.
    """
    square(size)
    return load_collection(CUB, size, rotations=rotations, progress=progress)


def _read_official(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    return _classes(folder / "CUB_200_2011" / "images", shape)


def _read_images(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    return _classes(folder / "images", shape)


def _classes(images: Path, shape: Shape) -> list[ClassImages]:
    return read_folders((("", p) for p in sorted(images.iterdir()) if p.is_dir() and p.name[0] != "."), shape)


CUB = Collection(
    name="cub",
    folders=("cub", "CUB", "CUB_200_2011"),
    layouts=(
        Layout("the folder CUB_200_2011 of the unpacked archive", ("CUB_200_2011/images/*.*",), _read_official),
        Layout(
            "a folder images with class folders 001.Black_footed_Albatross, …",
            ("images/001.*", "images/*.*"),
            _read_images,
        ),
        SPLIT_FILES,
    ),
    expects=load_classes("cub"),
    origin="get CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/ and unpack it",
    protocol="split of Chen et al.",
    provenance={
        "source": "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "licence": "pictures of their owners; non-commercial research and education",
        "reference": "Wah et al. (2011), CNS-TR-2011-001; Chen et al. (2019), arXiv:1904.04232",
    },
)
"""Where CUB is looked for and in which layouts."""
