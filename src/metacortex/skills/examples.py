"""A folder of examples: one sub-folder of images per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metacortex.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "ExampleFolder", "find_examples"]

_FORMATS = "png jpg jpeg jfif gif bmp dib tif tiff webp ppm pgm pbm avif ico tga pcx jp2"
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
"""Files with other suffixes (notes, thumbnails' databases) are passed over."""

_LAYOUT = "give a folder with one sub-folder of images per class"


@dataclass(frozen=True)
class ExampleFolder:
    """Image files by class.

    Attributes:
        path: the folder.
        classes: class names, sorted: the names of the sub-folders.
        files: image files, sorted, class after class.
        targets: class of each file, an index into ``classes``.
    """

    path: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    targets: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """``class/file`` of each file."""
        return [f"{file.parent.name}/{file.name}" for file in self.files]

    def read(self, reader: Callable[[Path], np.ndarray]) -> np.ndarray:
        """Every image, ``[N, C, H, W]`` uint8.

        Raises:
            DataError: naming the file that is no whole image.
        """
        return np.stack([reader(file) for file in self.files])


def find_examples(folder: Path | str) -> ExampleFolder:
    """Look through a folder; nothing is read yet.

    Names that begin with a dot are passed over.

    Raises:
        DataError: if the folder is missing, unreadable, has no sub-folders, a sub-folder without
            images, or one class alone.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"there is no folder {folder}: {_LAYOUT}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file: {_LAYOUT}")
    entries = _listing(folder)
    found = {entry.name: _images(entry) for entry in entries if entry.is_dir()}
    if not found:
        what = "its images lie side by side" if any(map(_is_image, entries)) else "it has no sub-folders"
        raise DataError(f"no classes in {folder}: {what}; {_LAYOUT}")
    if len(found) == 1:
        raise DataError(
            f"{folder} has one class, '{next(iter(found))}': there must be at least two to tell apart; "
            "add a sub-folder with examples of something else"
        )
    files = [file for images in found.values() for file in images]
    targets = [slot for slot, images in enumerate(found.values()) for _ in images]
    return ExampleFolder(folder, tuple(found), tuple(files), tuple(targets))


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _images(folder: Path) -> list[Path]:
    entries = _listing(folder)
    images = [entry for entry in entries if _is_image(entry)]
    if not images:
        if not entries:
            what = "its folder is empty"
        elif any(entry.is_dir() for entry in entries):
            what = "its folder holds folders; classes are not searched for deeper down"
        else:
            what = f"its folder holds {entries[0].name}, which is not an image file"
        raise DataError(f"class '{folder.name}' has no images: {what}; add images to {folder} or remove it")
    return images
