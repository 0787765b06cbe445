"""The HDF5 files that torchmeta left in its data folders.

``{train,val,test}_data.hdf5`` hold ``datasets/<class>``: pictures ``[n, h, w, 3]`` of uint8, encoded pictures
(rows of bytes of varying length), or rows of numbers ``[n, d]``; ``{train,val,test}_labels.json`` list the
classes. CIFAR-100 lies in one file of ``<superclass>/<class>``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from metacortex.data.collections.base import ClassImages, Layout
from metacortex.data.collections.pictures import Shape, decode, fit
from metacortex.data.dataset import SPLITS
from metacortex.data.images import MAX_PIXELS
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError, MissingExtraError

__all__ = ["SPLIT_FILES", "member", "open_hdf5", "pictures_of", "read_split_files"]


def open_hdf5(path: Path, stack: ExitStack) -> Any:
    """Open a file for reading until the stack is closed.

    Raises:
        MissingExtraError: without h5py.
        DataError: if the file is missing, damaged or cut short.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(f"reading {path.name}", "hdf5") from None
    try:
        return stack.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise DataError(f"{path}: not an HDF5 file, damaged or cut short ({error}): copy it again") from None


def read_split_files(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """``{split}_data.hdf5`` with ``{split}_labels.json``.

    Raises:
        DataError: if a file is damaged or a class is missing in it.
    """
    found: list[ClassImages] = []
    seen: set[str] = set()
    for split in SPLITS:
        path = folder / f"{split}_data.hdf5"
        file = open_hdf5(path, stack)
        for label in _labels(folder / f"{split}_labels.json"):
            node = member(file, f"datasets/{label}", path)
            # some names are given to two kinds of things, e.g. crane in ImageNet
            name = f"{label}/{split}" if label in seen else label
            seen.add(label)
            found.append((ClassInfo(name, len(node), {"split": split}), pictures_of(node, shape, f"{path}/{label}")))
    return found


def member(file: Any, path: str, title: Path) -> Any:
    """The examples at a path of an open file, where they lie in this file itself and are not absurdly large.

    Raises:
        DataError: if there is nothing, or a link into another file.
    """
    import h5py

    try:
        node = file[path] if isinstance(file.get(path, getlink=True), h5py.HardLink) else None
    except (KeyError, ValueError, OSError):
        node = None
    # an HDF5 file may point into other files in four ways: links, linked groups, raw storage, virtual data
    if (
        not isinstance(node, h5py.Dataset)
        or node.file.filename != file.filename
        or node.external
        or node.is_virtual
        or not node.shape
    ):
        raise DataError(f"{title}: there is no class {path!r} in it")
    if math.prod(node.shape[1:]) > 3 * MAX_PIXELS:
        raise DataError(f"{title}: the examples of {path!r} are of shape {node.shape[1:]}, far too large")
    return node


def pictures_of(node: Any, shape: Shape, name: str) -> Iterator[np.ndarray]:
    """The examples of a class, whichever way they are written; rows as float32 where the shape is empty.

    Raises:
        DataError: if they are damaged or of an unexpected kind.
    """
    try:
        for number in range(len(node)):
            item, title = np.asarray(node[number]), f"{name}, example {number}"
            if not shape:
                yield _row(item, title)
            elif item.ndim == 1:
                yield decode(item, shape, title)
            else:
                yield fit(item, shape, title)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: damaged ({error}): copy the file again") from None


def _row(item: np.ndarray, name: str) -> np.ndarray:
    if item.ndim != 1 or item.dtype.kind not in "iufb" or not np.isfinite(item).all():
        raise DataError(f"{name}: expected a row of finite numbers, got {item.shape} {item.dtype}")
    return item.astype(np.float32)


def _labels(path: Path) -> list[str]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{path}: expected a list of class names")
    return labels


SPLIT_FILES = Layout(
    "torchmeta's train_data.hdf5, val_data.hdf5, test_data.hdf5 and train_labels.json, …",
    tuple(f"{split}{ending}" for split in SPLITS for ending in ("_data.hdf5", "_labels.json")),
    read_split_files,
    counted=False,
)
"""The layout of torchmeta's caches."""
