"""Tables of numbers from torchmeta's caches: letters, leaves of plants, chords of Bach.

A class is a set of rows ``[n, d]`` (float32 in the store), so these go with a backbone for vectors (``mlp``).
"""

from __future__ import annotations

from collections.abc import Callable

from metacortex.data.collections.base import Collection, load_collection
from metacortex.data.collections.hdf5 import SPLIT_FILES
from metacortex.data.dataset import Dataset

__all__ = ["TABLES", "load_bach", "load_letter", "load_plants_margin", "load_plants_shape", "load_plants_texture"]


def load_letter(*, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Letter recognition: 26 capital letters, 16 measures of printed glyphs (Frey and Slate, 1991).

    Raises:
        DataError: if torchmeta's files are not found or damaged.
    """
    return load_collection(TABLES["letter"], 0, progress=progress)


def load_plants_margin(*, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """One hundred plant species by the margins of their leaves, 64 numbers (Mallah, Cope and Orwell, 2013).

    Raises:
        DataError: if torchmeta's files are not found or damaged.
    """
    return load_collection(TABLES["plants_margin"], 0, progress=progress)


def load_plants_shape(*, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """One hundred plant species by the shapes of their leaves, 64 numbers (Mallah, Cope and Orwell, 2013).

    Raises:
        DataError: if torchmeta's files are not found or damaged.
    """
    return load_collection(TABLES["plants_shape"], 0, progress=progress)


def load_plants_texture(*, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """One hundred plant species by the textures of their leaves, 64 numbers (Mallah, Cope and Orwell, 2013).

    Raises:
        DataError: if torchmeta's files are not found or damaged.
    """
    return load_collection(TABLES["plants_texture"], 0, progress=progress)


def load_bach(*, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Chords of Bach's chorales (Radicioni and Esposito, 2010), as torchmeta encodes them.

    Raises:
        DataError: if torchmeta's files are not found or damaged.
    """
    return load_collection(TABLES["bach"], 0, progress=progress)


def _table(name: str, folder: str, sizes: tuple[int | None, int | None, int | None], reference: str) -> Collection:
    return Collection(
        name=name,
        folders=(name,) if name == folder else (name, folder),
        layouts=(SPLIT_FILES,),
        expects=dict(zip(("train", "val", "test"), sizes, strict=True)),
        origin=f"it is read from the folder '{folder}' that torchmeta made",
        protocol="split of torchmeta",
        provenance={"source": "OpenML, through torchmeta", "reference": reference},
        colours=0,
    )


_PLANTS = "Mallah, Cope and Orwell (2013), Plant leaf classification using probabilistic integration"

TABLES = {
    "bach": _table("bach", "bach", (None, None, None), "Radicioni and Esposito (2010), BREVE"),
    "letter": _table("letter", "letter", (15, 5, 6), "Frey and Slate (1991), Machine Learning 6(2)"),
    "plants_margin": _table("plants_margin", "one_hundred_plants_margin", (70, 15, 15), _PLANTS),
    "plants_shape": _table("plants_shape", "one_hundred_plants_shape", (70, 15, 15), _PLANTS),
    "plants_texture": _table("plants_texture", "one_hundred_plants_texture", (70, 15, 15), _PLANTS),
}
"""The tables by name of the source."""
