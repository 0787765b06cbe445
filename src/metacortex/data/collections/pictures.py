"""Classes of pictures: in zip archives, in folders, listed in tables, or as arrays."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from metacortex.data.archives import open_zip, read_entry, safe_entries
from metacortex.data.collections.base import ClassImages
from metacortex.data.dataset import SPLITS
from metacortex.data.images import read_image
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError

__all__ = [
    "PICTURES",
    "Shape",
    "decode",
    "fit",
    "read_folders",
    "read_listed",
    "read_zips",
    "split_folders",
    "zip_classes",
]

Shape = tuple[int, ...]
"""``(channels, height, width)`` of what is wanted; channels 1 (grey) or 3 (RGB)."""

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
"""Endings of files that are pictures."""


def read_zips(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """``train.zip``, ``val.zip`` and ``test.zip`` with entries ``<class>/<file>``, in any folder within."""
    found: list[ClassImages] = []
    for split in SPLITS:
        archive = stack.enter_context(open_zip(folder / f"{split}.zip"))
        found += [(ClassInfo(name, n, {"split": split}), items) for name, n, items in zip_classes(archive, shape)]
    return found


def zip_classes(archive: zipfile.ZipFile, shape: Shape) -> list[tuple[str, int, Iterator[np.ndarray]]]:
    """Name, number of pictures and pictures of each class of an archive, sorted; a class is a folder of pictures.

    Raises:
        DataError: if an entry leads out of the archive's folder, or a class is met in two places.
    """
    classes: dict[PurePosixPath, list[zipfile.ZipInfo]] = {}
    for info in safe_entries(archive):
        path = PurePosixPath(info.filename)
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.parts[0] != "__MACOSX":
            classes.setdefault(path.parent, []).append(info)
    names = sorted(p.name for p in classes)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{archive.filename}: class '{min(twice)}' is in two folders of the archive")
    return [
        (p.name, len(infos), _zipped(archive, infos, shape))
        for p, infos in sorted(classes.items(), key=lambda c: c[0].name)
    ]


def split_folders(folder: Path, splits: Sequence[str] = SPLITS) -> list[tuple[str, Path]]:
    """``(split, class folder)`` of the class folders below ``train``, ``val`` and ``test``, sorted."""
    return [(s, p) for s in splits for p in sorted((folder / s).iterdir()) if p.is_dir() and p.name[0] != "."]


def read_folders(classes: Iterable[tuple[str, Path]], shape: Shape) -> list[ClassImages]:
    """Class folders full of pictures, each with the split that it belongs to.

    Raises:
        DataError: if a class folder holds no picture.
    """
    found: list[ClassImages] = []
    for split, place in classes:
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES and p.name[0] != ".")
        if not files:
            raise DataError(f"{place} holds no picture ({', '.join(PICTURES)})")
        found.append((ClassInfo(place.name, len(files), {"split": split} if split else {}), _files(files, shape)))
    return found


def read_listed(tables: Iterable[tuple[str, Path]], images: Path, shape: Shape) -> list[ClassImages]:
    """Pictures in one folder, with a table ``filename,label`` for each split.

    Raises:
        DataError: if a table is no such table or names a file outside the folder.
    """
    found: list[ClassImages] = []
    for split, table in tables:
        classes: dict[str, list[Path]] = {}
        for name, label in _rows(table):
            classes.setdefault(label, []).append(images / name)
        for label, files in sorted(classes.items()):
            found.append((ClassInfo(label, len(files), {"split": split}), _files(files, shape)))
    return found


def decode(content: bytes | np.ndarray, shape: Shape, name: str) -> np.ndarray:
    """One picture from the bytes of its file, as ``[C, H, W]`` uint8.

    Raises:
        DataError: naming the picture, if it is damaged or none.
    """
    data = content if isinstance(content, bytes) else np.asarray(content, dtype=np.uint8).tobytes()
    return read_image(io.BytesIO(data), shape[1:], "RGB" if shape[0] == 3 else "L", name=name)


def fit(picture: np.ndarray, shape: Shape, name: str) -> np.ndarray:
    """Bring a picture ``[h, w]``, ``[h, w, 1]`` or ``[h, w, 3]`` to ``[C, H, W]``, stretched with antialiasing.

    Raises:
        DataError: if it is no uint8 picture.
    """
    plain = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if plain.dtype != np.uint8 or plain.ndim not in (2, 3) or plain.shape[2:] not in ((), (3,)) or 0 in plain.shape:
        raise DataError(f"{name}: expected a picture [h, w, 3] or [h, w] of uint8, got {picture.shape} {picture.dtype}")
    mode = "RGB" if shape[0] == 3 else "L"
    if (plain.ndim == 3) == (shape[0] == 3) and plain.shape[:2] == shape[1:]:
        array = plain
    else:
        image = Image.fromarray(plain).convert(mode)
        # as `read_image` does it, so that the same picture gives the same pixels in every layout
        array = np.asarray(image.resize((shape[2], shape[1]), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(array.transpose(2, 0, 1)) if array.ndim == 3 else array[None]  # [H, W, C] -> [C, H, W]


def _zipped(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo], shape: Shape) -> Iterator[np.ndarray]:
    for info in infos:
        yield decode(read_entry(archive, info), shape, f"{archive.filename}/{info.filename}")


def _files(files: Sequence[Path], shape: Shape) -> Iterator[np.ndarray]:
    for file in files:
        yield read_image(file, shape[1:], "RGB" if shape[0] == 3 else "L")


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"filename", "label"} <= set(rows.fieldnames or ()):
                raise DataError(f"{table}: expected a table with the columns filename and label")
            for row in rows:
                name, label = row["filename"], row["label"]
                if not name or not label or name[0] == "." or not {"/", "\\", ":"}.isdisjoint(name):
                    raise DataError(
                        f"{table}, line {rows.line_num}: expected the name of a file and a label, got {row}"
                    )
                yield name, label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}") from None
