"""German traffic signs: 43 classes, all of them for test.

Reference: Stallkamp, Schlipsing, Salmen and Igel, "Man vs. computer: Benchmarking machine learning algorithms
for traffic sign recognition", Neural Networks 32 (2012). Meta-Dataset (Triantafillou et al., 2020) tests on
all classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

from metacortex.data.archives import open_zip, safe_entries
from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pictures import PICTURES, Shape, read_folders, zip_classes
from metacortex.data.dataset import Dataset, square
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError

__all__ = ["GTSRB", "load_gtsrb"]

_TRACKS = "tracks"
"""Key of a class's meta-data: the track of each picture."""


def load_gtsrb(*, size: int = 48, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """German traffic signs as a ``test`` split, for learners trained on something else.

    The pictures of one track are frames of the same physical sign, nearly copies of each other. The queries of a task
    are therefore drawn from other tracks than its support: a sign is recognised that was not seen before.

    Args:
        size: pixels on a side; whole pictures, stretched to a square.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not the published classes.
    """
    square(size)
    data = load_collection(GTSRB, size, progress=progress, key=(_TRACKS,), note="support and query of different tracks")
    return replace(data, apart=_TRACKS)


def _read_zip(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    path = folder / "gtsrb_48.zip"
    archive = stack.enter_context(open_zip(path))
    names: dict[str, list[str]] = {}
    for info in safe_entries(archive):
        entry = PurePosixPath(info.filename)
        names.setdefault(entry.parent.name, []).append(entry.name)
    return [
        (ClassInfo(_sign(name, path), n, _tracks(names[name])), items) for name, n, items in zip_classes(archive, shape)
    ]


def _read_official(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    place = folder / "Final_Training" / "Images"
    classes = read_folders((("", p) for p in sorted(place.iterdir()) if p.is_dir() and p.name[0] != "."), shape)
    found = []
    for info, items in classes:
        files = sorted(path.name for path in (place / info.name).iterdir())
        found.append((ClassInfo(_sign(info.name, place), info.count, _tracks(files)), items))
    return found


def _tracks(files: Iterable[str]) -> dict[str, str]:
    """The track of each picture, from names like ``00002_00017.jpg``: the track, then the frame."""
    pictures = [name for name in files if name.lower().endswith(PICTURES) and name[0] != "."]
    return {_TRACKS: " ".join(name.partition("_")[0] for name in pictures)}


def _sign(folder: str, where: Path) -> str:
    """``"07.Speed limit (100km/h)"`` from ``"07"`` or ``"00007"``."""
    names = load_classes("gtsrb")["test"]
    if not folder.isdecimal() or int(folder) >= len(names):
        raise DataError(f"{where}: expected folders 00 to {len(names) - 1}, got {folder!r}")
    return names[int(folder)]


GTSRB = Collection(
    name="gtsrb",
    folders=("gtsrb", "GTSRB"),
    layouts=(
        Layout("gtsrb_48.zip of class folders 00 to 42", ("gtsrb_48.zip",), _read_zip),
        Layout("the folder Final_Training of the unpacked archive", ("Final_Training/Images/00*",), _read_official),
    ),
    expects=load_classes("gtsrb"),
    origin="get GTSRB_Final_Training_Images.zip from https://benchmark.ini.rub.de and unpack it",
    protocol="all classes for test",
    provenance={
        "source": "https://benchmark.ini.rub.de (German Traffic Sign Recognition Benchmark)",
        "licence": "free for use, the makers ask to be cited; research use",
        "reference": "Stallkamp et al. (2012), Neural Networks 32, 323-332",
    },
)
"""Where the traffic signs are looked for and in which layouts."""
