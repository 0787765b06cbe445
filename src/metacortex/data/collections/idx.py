"""The idx files of MNIST: arrays of bytes with a short head, compressed or not.

Format: two zero bytes, the type of the numbers (8: unsigned bytes), the number of axes, then the length of each
axis as a big-endian 32-bit number, then the numbers.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from metacortex.errors import DataError

__all__ = ["find_pairs", "read_digits"]

_LARGEST = 1 << 28
_STEMS = (("train-images", "train-labels"), ("t10k-images", "t10k-labels"))


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The files of images and labels in a folder, training set first; only pairs that are complete.

    The official names are ``train-images-idx3-ubyte.gz`` and the like; uncompressed files and names with a dot
    (``train-images.idx3-ubyte``) are found as well.
    """
    pairs = []
    for images, labels in _STEMS:
        one, other = _find(folder, images, 3), _find(folder, labels, 1)
        if one is not None and other is not None:
            pairs.append((one, other))
    return pairs


def read_digits(folder: Path) -> list[np.ndarray]:
    """For each digit its images ``[n, h, w]`` uint8, those of the training set first.

    Raises:
        DataError: if a file is damaged, cut short or no idx file, or a digit has no image.
    """
    groups: list[list[np.ndarray]] = [[] for _ in range(10)]
    for images_path, labels_path in find_pairs(folder):
        images, labels = _read(images_path, 3), _read(labels_path, 1)
        if len(images) != len(labels) or (labels > 9).any():
            raise DataError(
                f"{labels_path}: expected a digit for each of the {len(images)} images of {images_path.name}, got "
                f"{len(labels)} labels up to {labels.max(initial=0)}"
            )
        for digit, group in enumerate(groups):
            group.append(images[labels == digit])
    missing = [digit for digit, group in enumerate(groups) if not sum(map(len, group))]
    if missing:
        raise DataError(f"{folder}: there is no image of the digit {missing[0]}")
    if len({a.shape[1:] for group in groups for a in group}) != 1:
        raise DataError(f"{folder}: the training and test images are of different sizes")
    return [np.concatenate(group) for group in groups]


def _find(folder: Path, stem: str, axes: int) -> Path | None:
    for mark in ("-", "."):
        for ending in (".gz", ""):
            path = folder / f"{stem}{mark}idx{axes}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def _read(path: Path, axes: int) -> np.ndarray:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
                raise DataError(f"{path}: not an idx file of bytes with {axes} axes: copy or download it again")
            shape = struct.unpack(f">{axes}I", head[4:])
            size = math.prod(shape)
            if not 0 < size <= _LARGEST:
                raise DataError(f"{path}: an array of shape {shape} is not to be expected")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut short ({error}): copy or download it again") from None
    if len(content) != size:
        raise DataError(f"{path}: expected {size} bytes after its head, got {len(content)}: copy or download it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
