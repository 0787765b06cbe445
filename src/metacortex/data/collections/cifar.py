"""CIFAR-FS and FC100: the 100 classes of CIFAR-100, 600 pictures each, 32x32, under two splits.

References: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009); CIFAR-FS: Bertinetto,
Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form solvers" (2019); FC100: Oreshkin,
Rodriguez Lopez and Lacoste, "TADAM" (2018), where no superclass is in two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from metacortex.data.archives import open_tar, read_member, safe_members
from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.hdf5 import member, open_hdf5, pictures_of
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pickles import read_pickle
from metacortex.data.collections.pictures import Shape, fit
from metacortex.data.dataset import Dataset, square
from metacortex.data.images import read_image
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError

__all__ = ["CIFAR_FS", "FC100", "load_cifar_fs", "load_fc100"]

_SIDE, _EACH = 32, 600
_PARTS = ("train", "test", "meta")
_ARCHIVE = "cifar-100-python"


def load_cifar_fs(
    *,
    size: int = _SIDE,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """CIFAR-FS: 64, 16 and 20 classes of CIFAR-100.

    Args:
        size: pixels on a side (32 in the source).
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not the published classes.
    """
    square(size)
    return load_collection(CIFAR_FS, size, rotations=rotations, progress=progress)


def load_fc100(
    *,
    size: int = _SIDE,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """FC100: 60, 20 and 20 classes of CIFAR-100, from 12, 4 and 4 superclasses.

    Args:
        size: pixels on a side (32 in the source).
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not the published classes.
    """
    square(size)
    return load_collection(FC100, size, rotations=rotations, progress=progress)


def _read_archive(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    path = folder / f"{_ARCHIVE}.tar.gz"
    with open_tar(path) as archive:
        members = {Path(info.name).name: info for info in safe_members(archive)}
        missing = [part for part in _PARTS if part not in members]
        if missing:
            raise DataError(f"{path}: there is no {missing[0]} in it: copy or download it again")
        parts = {part: read_pickle(read_member(archive, members[part]), f"{path}/{part}") for part in _PARTS}
    return _official(str(path), parts, shape)


def _read_unpacked(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    place = folder / _ARCHIVE
    return _official(str(place), {part: read_pickle(place / part) for part in _PARTS}, shape)


def _official(name: str, parts: Mapping[str, Any], shape: Shape) -> list[ClassImages]:
    """The classes of the official pickles: the 500 pictures for training, then the 100 for test."""
    fine, coarse = (_entry(name, parts, "meta", f"{kind}_label_names", list) for kind in ("fine", "coarse"))
    images, labels, groups = [], [], []
    for part in ("train", "test"):
        pixels = _entry(name, parts, part, "data", np.ndarray)
        marks, above = (np.asarray(_entry(name, parts, part, f"{k}_labels", list)) for k in ("fine", "coarse"))
        whole = marks.dtype.kind == above.dtype.kind == "i" and marks.shape == above.shape == pixels.shape[:1]
        if not whole or pixels.dtype != np.uint8 or pixels.shape[1:] != (3 * _SIDE * _SIDE,):
            raise DataError(f"{name}, {part}: expected data [pictures, 3072] of uint8 and two labels for each picture")
        if not (0 <= marks.min() <= marks.max() < len(fine) and 0 <= above.min() <= above.max() < len(coarse)):
            raise DataError(f"{name}, {part}: there are labels without a name")
        images.append(pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))  # [N, C*H*W] -> [N, H, W, C]
        labels.append(marks)
        groups.append(above)
    found: list[ClassImages] = []
    for number, title in enumerate(fine):
        rows = [np.flatnonzero(marks == number) for marks in labels]
        group = {str(coarse[g]) for above, r in zip(groups, rows, strict=True) for g in above[r].tolist()}
        if len(group) != 1:
            raise DataError(f"{name}: class '{title}' should be in one superclass, is in {len(group)}")
        info = ClassInfo(str(title), sum(map(len, rows)), {"coarse": group.pop()})
        found.append((info, _rows(images, rows, shape, f"{name}, {title}")))
    return found


def _entry(name: str, parts: Mapping[str, Any], part: str, key: str, kind: type) -> Any:
    content = parts[part]
    value = content.get(key) if isinstance(content, dict) else None
    if value is None or not isinstance(value, kind) or not len(value):
        raise DataError(f"{name}, {part}: expected a pickled dictionary with {key}: copy or download it again")
    return value


def _rows(images: Sequence[np.ndarray], rows: Sequence[np.ndarray], shape: Shape, name: str) -> Iterator[np.ndarray]:
    for pictures, chosen in zip(images, rows, strict=True):
        for row in chosen.tolist():
            yield fit(pictures[row], shape, name)


def _read_strips(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """One picture per class, its 600 pictures one below the other; superclasses in ``fine_to_coarse.csv``."""
    table = folder / "fine_to_coarse.csv"
    try:
        rows = [line.split(",") for line in table.read_text(encoding="utf-8").split()[1:]]
        coarse = {fine: above for _, fine, _, above in rows}
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {table}: {error}") from None
    return [
        (ClassInfo(p.stem, _EACH, {"coarse": coarse.get(p.stem, "")}), _strip(p, shape))
        for p in sorted((folder / "images").glob("*.jpg"))
    ]


def _strip(path: Path, shape: Shape) -> Iterator[np.ndarray]:
    pixels = read_image(path, None, "RGB").transpose(1, 2, 0)  # [C, H, W] -> [H, W, C]
    if pixels.shape[1] != _SIDE or pixels.shape[0] % _SIDE:
        raise DataError(f"{path}: expected pictures of {_SIDE}x{_SIDE} below each other, got {pixels.shape[:2]}")
    for picture in pixels.reshape(-1, _SIDE, _SIDE, 3):  # [600*H, W, C] -> [600, H, W, C]
        yield fit(picture, shape, str(path))


def _read_hdf5(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    path = folder / "data.hdf5"
    file = open_hdf5(path, stack)
    found: list[ClassImages] = []
    try:
        names = [(coarse, fine) for coarse in file for fine in file[coarse]]
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: expected groups <superclass>/<class> of pictures ({error})") from None
    for coarse, fine in names:
        node = member(file, f"{coarse}/{fine}", path)
        found.append((ClassInfo(fine, len(node), {"coarse": coarse}), pictures_of(node, shape, f"{path}/{fine}")))
    return found


_LAYOUTS = (
    Layout(f"{_ARCHIVE}.tar.gz", (f"{_ARCHIVE}.tar.gz",), _read_archive),
    Layout(f"the unpacked folder {_ARCHIVE}", tuple(f"{_ARCHIVE}/{part}" for part in _PARTS), _read_unpacked),
    Layout("torchmeta's data.hdf5", ("data.hdf5",), _read_hdf5, counted=False),
    Layout("images/<class>.jpg with fine_to_coarse.csv", ("fine_to_coarse.csv", "images/*.jpg"), _read_strips),
)
_PROVENANCE = {
    "source": "https://www.cs.toronto.edu/~kriz/cifar.html (CIFAR-100, python version)",
    "licence": "none named by the makers, who ask to be cited; research use",
}
_ORIGIN = f"get {_ARCHIVE}.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, or run: metacortex data fetch "

CIFAR_FS = Collection(
    name="cifar_fs",
    folders=("cifar100", "cifar-100"),
    layouts=_LAYOUTS,
    expects=load_classes("cifar_fs"),
    origin=_ORIGIN + "cifar_fs",
    protocol="CIFAR-FS split of Bertinetto et al.",
    provenance={**_PROVENANCE, "reference": "Krizhevsky (2009); Bertinetto et al. (2019), arXiv:1805.08136"},
    each=_EACH,
)
"""Where CIFAR-FS is looked for and in which layouts."""

FC100 = Collection(
    name="fc100",
    folders=("cifar100", "cifar-100"),
    layouts=_LAYOUTS,
    expects=load_classes("fc100"),
    origin=_ORIGIN + "fc100",
    protocol="FC100 split of Oreshkin et al.",
    provenance={**_PROVENANCE, "reference": "Krizhevsky (2009); Oreshkin et al. (2018), arXiv:1805.10123"},
    each=_EACH,
)
"""Where FC100 is looked for and in which layouts."""
