"""tiered-ImageNet: 608 classes of ImageNet in 34 categories; no category is in two splits.

Reference: Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle and Zemel, "Meta-Learning for
Semi-Supervised Few-Shot Classification" (2018). The pictures are ImageNet's, for non-commercial research.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.hdf5 import SPLIT_FILES
from metacortex.data.collections.pickles import read_pickle
from metacortex.data.collections.pictures import Shape, decode, read_folders, split_folders
from metacortex.data.dataset import SPLITS, Dataset, square
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError

__all__ = ["TIERED_IMAGENET", "load_tiered_imagenet"]


def load_tiered_imagenet(
    *,
    size: int = 84,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """tiered-ImageNet: 351, 97 and 160 classes; its store takes 16 GB at 84x84.

    Args:
        size: pixels on a side (84 in the source).
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not as many classes as published.
    """
    square(size)
    return load_collection(TIERED_IMAGENET, size, rotations=rotations, progress=progress)


def _read_folders(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    return read_folders(split_folders(folder), shape)


def _read_pickles(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """``{split}_images_png.pkl``, a list of PNG files as arrays, and ``{split}_labels.pkl`` (Ren et al.)."""
    found: list[ClassImages] = []
    seen: set[str] = set()
    for split in SPLITS:
        path, labels_path = folder / f"{split}_images_png.pkl", folder / f"{split}_labels.pkl"
        images, labels = read_pickle(path), read_pickle(labels_path)
        if not isinstance(labels, dict) or not {"label_specific", "label_specific_str"} <= set(labels):
            raise DataError(f"{labels_path}: expected a dictionary with label_specific and label_specific_str")
        marks, names = np.asarray(labels["label_specific"]), list(labels["label_specific_str"])
        if not isinstance(images, list) or marks.shape != (len(images),):
            raise DataError(f"{path}: expected a list of as many pictures as {labels_path.name} has labels")
        for number, label in enumerate(map(str, names)):
            rows = np.flatnonzero(marks == number)
            # some names are given to two kinds of things, e.g. crane
            name = f"{label}/{split}" if label in seen else label
            seen.add(label)
            found.append((ClassInfo(name, len(rows), {"split": split}), _encoded(images, rows, shape, f"{path}")))
    return found


def _encoded(images: list[object], rows: np.ndarray, shape: Shape, name: str) -> Iterator[np.ndarray]:
    for row in rows.tolist():
        item = images[row]
        if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
            raise DataError(f"{name}: picture {row} is no array of bytes")
        yield decode(item, shape, f"{name}, picture {row}")


TIERED_IMAGENET = Collection(
    name="tiered_imagenet",
    folders=("tiered_imagenet", "tieredimagenet", "tiered-imagenet", "tieredimagenet/tiered-imagenet"),
    layouts=(
        Layout("train, val and test of class folders", tuple(f"{s}/n*" for s in SPLITS), _read_folders),
        Layout(
            "train_images_png.pkl, train_labels.pkl and the same of val and test",
            tuple(f"{s}_{part}.pkl" for s in SPLITS for part in ("images_png", "labels")),
            _read_pickles,
        ),
        SPLIT_FILES,
    ),
    expects={"train": 351, "val": 97, "test": 160},
    origin="its authors' page is https://github.com/renmengye/few-shot-ssl-public (tiered-imagenet.tar)",
    protocol="split of Ren et al.",
    provenance={
        "source": "ImageNet (ILSVRC 2012) at 84x84, https://github.com/renmengye/few-shot-ssl-public",
        "licence": "pictures of their owners; non-commercial research and education only",
        "reference": "Ren et al. (2018), arXiv:1803.00676",
    },
)
"""Where tiered-ImageNet is looked for and in which layouts."""
