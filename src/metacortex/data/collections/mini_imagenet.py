"""mini-ImageNet: 100 classes of ImageNet, 600 pictures each, 84x84.

Reference: Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, "Matching Networks for One Shot Learning"
(2016); split by Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning" (2017). There is no
official archive; the pictures are ImageNet's, for non-commercial research and education.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.hdf5 import SPLIT_FILES
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pickles import read_pickle
from metacortex.data.collections.pictures import Shape, fit, read_folders, read_listed, read_zips, split_folders
from metacortex.data.dataset import SPLITS, Dataset, square
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError

__all__ = ["MINI_IMAGENET", "load_mini_imagenet"]


def load_mini_imagenet(
    *,
    size: int = 84,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """mini-ImageNet under the split of Ravi and Larochelle: 64, 16 and 20 classes.

    Args:
        size: pixels on a side (84 in the source).
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the data are not found, damaged or not the published classes.
    """
    square(size)
    return load_collection(MINI_IMAGENET, size, rotations=rotations, progress=progress)


def _read_folders(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    return read_folders(split_folders(folder), shape)


def _read_listed(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    return read_listed([(split, folder / f"{split}.csv") for split in SPLITS], folder / "images", shape)


def _read_cache_pickles(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """``image_data`` ``[N, 84, 84, 3]`` and ``class_dict`` with the rows of each class (Ren et al., 2018)."""
    found: list[ClassImages] = []
    for split in SPLITS:
        path = folder / f"mini-imagenet-cache-{split}.pkl"
        content = _content(path, "image_data", "class_dict")
        table = content["class_dict"]
        if not isinstance(table, Mapping):
            raise DataError(f"{path}: class_dict should say the rows of each class, got {type(table).__name__}")
        rows_of = {str(name): rows for name, rows in table.items()}
        found += _classes(path, split, content["image_data"], rows_of, shape)
    return found


def _read_phase_pickles(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    """``data`` ``[N, 84, 84, 3]``, ``labels`` ``[N]`` and ``catname2label`` (Lee et al., MetaOptNet, 2019)."""
    found: list[ClassImages] = []
    for split in SPLITS:
        path = folder / _phase(split)
        content = _content(path, "data", "labels", "catname2label")
        images, marks, numbers = content["data"], np.asarray(content["labels"]), content["catname2label"]
        if marks.shape != (len(images),) or not isinstance(numbers, Mapping):
            raise DataError(f"{path}: expected a label for each picture, and catname2label with the names of them")
        rows_of = {str(name): np.flatnonzero(marks == number) for name, number in numbers.items()}
        found += _classes(path, split, images, rows_of, shape)
    return found


def _phase(split: str) -> str:
    return f"miniImageNet_category_split_{'train_phase_train' if split == 'train' else split}.pickle"


def _content(path: Path, images: str, *others: str) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not {images, *others} <= set(content):
        raise DataError(f"{path}: expected a pickled dictionary with {', '.join((images, *others))}: copy it again")
    array = content[images]
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        what = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{path}: {images} should be [pictures, height, width, 3] of uint8, got {what}")
    return content


def _classes(
    path: Path, split: str, images: np.ndarray, table: Mapping[str, Iterable[int]], shape: Shape
) -> list[ClassImages]:
    found: list[ClassImages] = []
    for name, rows in table.items():
        index = np.asarray(rows)
        whole = index.ndim == 1 and index.dtype.kind in "iu" and len(index) > 0
        if not whole or index.min() < 0 or index.max() >= len(images):
            raise DataError(f"{path}: class '{name}' should have rows within 0..{len(images) - 1}")
        found.append((ClassInfo(name, len(index), {"split": split}), _rows(images, index, shape, f"{path}, {name}")))
    return found


def _rows(images: np.ndarray, index: np.ndarray, shape: Shape, name: str) -> Iterator[np.ndarray]:
    for row in index.tolist():
        yield fit(images[row], shape, name)


MINI_IMAGENET = Collection(
    name="mini_imagenet",
    folders=("mini_imagenet", "miniimagenet", "mini-imagenet", "miniImageNet"),
    layouts=(
        Layout("train.zip, val.zip and test.zip of class folders", tuple(f"{s}.zip" for s in SPLITS), read_zips),
        Layout("train, val and test of class folders", tuple(f"{s}/n*" for s in SPLITS), _read_folders),
        Layout(
            "a folder images with train.csv, val.csv and test.csv (filename,label)",
            ("images", *(f"{s}.csv" for s in SPLITS)),
            _read_listed,
        ),
        Layout(
            "mini-imagenet-cache-train.pkl, …-val.pkl and …-test.pkl",
            tuple(f"mini-imagenet-cache-{s}.pkl" for s in SPLITS),
            _read_cache_pickles,
        ),
        Layout(
            "miniImageNet_category_split_train_phase_train.pickle, …_val.pickle and …_test.pickle",
            tuple(_phase(s) for s in SPLITS),
            _read_phase_pickles,
        ),
        SPLIT_FILES,
    ),
    expects=load_classes("mini_imagenet"),
    origin="there is no official archive, so bring a copy of your own",
    protocol="split of Ravi and Larochelle",
    provenance={
        "source": "ImageNet (ILSVRC 2012) at 84x84",
        "licence": "pictures of their owners; non-commercial research and education only",
        "reference": "Vinyals et al. (2016), arXiv:1606.04080; Ravi and Larochelle (2017)",
    },
    each=600,
)
"""Where mini-ImageNet is looked for and in which layouts."""
