"""MNIST's handwritten digits, alone and composed to numbers of two or three digits.

References: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998).
Double and Triple MNIST: Sun, "Multi-digit MNIST for Few-shot Learning" (2019); the splits are those published
with torchmeta.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from metacortex.data.collections.base import ClassImages, Collection, Layout, load_collection
from metacortex.data.collections.hdf5 import SPLIT_FILES
from metacortex.data.collections.idx import read_digits
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pictures import Shape, fit
from metacortex.data.dataset import Dataset, square
from metacortex.data.store import ClassInfo
from metacortex.errors import DataError, SettingsError

__all__ = ["DOUBLE_MNIST", "MNIST", "TRIPLE_MNIST", "compose", "load_double_mnist", "load_mnist", "load_triple_mnist"]

_SIDE = 28
_PER_CLASS = 100


def load_mnist(*, size: int = _SIDE, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The ten digits as a ``test`` split: real handwriting for learners trained on something else.

    Args:
        size: pixels on a side (28 in the source). Ink is bright on 0.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the files are not found or damaged.
    """
    square(size)
    return load_collection(MNIST, size, progress=progress)


def load_double_mnist(
    *,
    size: int = 64,
    per_class: int = _PER_CLASS,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Numbers of two digits, 00 to 99: 64, 16 and 20 classes.

    Made from MNIST's images by `compose`, or read from torchmeta's files where these are found.

    Args:
        size: pixels on a side. The digits are laid on 64x64.
        per_class: images made of each number; torchmeta's files have 1,000.
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if MNIST is not found or damaged.
        SettingsError: for a number of images that is not positive.
    """
    return _load_composed(DOUBLE_MNIST, size, per_class, rotations, progress)


def load_triple_mnist(
    *,
    size: int = 84,
    per_class: int = _PER_CLASS,
    rotations: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Numbers of three digits, 000 to 999: 640, 160 and 200 classes.

    Made from MNIST's images by `compose`, or read from torchmeta's files where these are found.

    Args:
        size: pixels on a side. The digits are laid on 84x84.
        per_class: images made of each number; torchmeta's files have 1,000. The store takes 0.7 GB.
        rotations: splits whose classes also come rotated as classes of their own, e.g. ``"train"``.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if MNIST is not found or damaged.
        SettingsError: for a number of images that is not positive.
    """
    return _load_composed(TRIPLE_MNIST, size, per_class, rotations, progress)


def compose(number: str, digits: Sequence[np.ndarray], side: int, count: int) -> Iterator[np.ndarray]:
    """Images of a number, its digits from left to right without overlap, at random places.

    Image *i* of a number is a function of (number, i) alone, the same on any machine.

    Args:
        number: e.g. ``"07"``.
        digits: for each digit images ``[n, h, w]`` uint8.
        side: pixels on a side of the canvas, at least the width of the digits together.
        count: how many.

    Yields:
        ``[side, side]`` uint8.
    """
    height, width = digits[0].shape[1:]
    spare = side - width * len(number)
    # a bit generator's stream is fixed for good, the distributions built on it are not
    words = np.random.Philox(key=int("1" + number)).random_raw(count * 3 * len(number))
    draws = words.reshape(count, 3, len(number))  # [count, (which, x, y), digits]
    for which, gaps, drops in draws:
        canvas = np.zeros((side, side), np.uint8)
        offsets = np.sort(gaps % np.uint64(spare + 1)).tolist()
        for place, digit in enumerate(map(int, number)):
            image = digits[digit][int(which[place] % np.uint64(len(digits[digit])))]
            left, top = place * width + offsets[place], int(drops[place] % np.uint64(side - height + 1))
            canvas[top : top + height, left : left + width] = image
        yield canvas


def _load_composed(
    collection: Collection,
    size: int,
    per_class: int,
    rotations: str | Sequence[str] | None,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    square(size)
    if per_class < 1:
        raise SettingsError(f"per_class: expected at least one image of each number, got {per_class}")
    side = 64 if collection.name == "double_mnist" else 84
    read = functools.partial(_read_composed, collection.name, side, per_class)
    layouts = tuple(replace(a, read=read) if a.home == "mnist" else a for a in collection.layouts)
    return load_collection(
        replace(collection, layouts=layouts), size, rotations=rotations, progress=progress, key=[per_class]
    )


def _read_single(folder: Path, shape: Shape, stack: ExitStack) -> list[ClassImages]:
    digits = read_digits(folder)
    return [
        (ClassInfo(str(d), len(images)), (fit(image, shape, f"{folder}, digit {d}") for image in images))
        for d, images in enumerate(digits)
    ]


def _read_composed(
    name: str, side: int, per_class: int, folder: Path, shape: Shape, stack: ExitStack
) -> list[ClassImages]:
    digits = read_digits(folder)
    found: list[ClassImages] = []
    for split, numbers in load_classes(name).items():
        for number in numbers:
            if digits[0].shape[1] > side or digits[0].shape[2] * len(number) > side:
                raise DataError(f"{folder}: images of {digits[0].shape[1:]} pixels are too large for {name}")
            info = ClassInfo(number, per_class, {"split": split})
            found.append((info, _composed(number, digits, side, per_class, shape)))
    return found


def _composed(number: str, digits: Sequence[np.ndarray], side: int, count: int, shape: Shape) -> Iterator[np.ndarray]:
    for image in compose(number, digits, side, count):
        yield fit(image, shape, number)


def _idx(read: Callable[[Path, Shape, ExitStack], list[ClassImages]]) -> Layout:
    return Layout(
        "MNIST's t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz (and the same of train)",
        ("t10k-images?idx3-ubyte*", "t10k-labels?idx1-ubyte*"),
        read,
        "mnist",
        ("train-images?idx3-ubyte*", "train-labels?idx1-ubyte*"),
    )


_ORIGIN = "get the four idx files of MNIST"
_PROVENANCE = {
    "source": "MNIST (LeCun, Cortes, Burges), idx files",
    "licence": "commonly distributed under CC BY-SA 3.0; the files carry no licence text",
    "reference": "LeCun et al. (1998)",
}

MNIST = Collection(
    name="mnist",
    folders=("mnist", "MNIST", "MNIST/raw"),
    layouts=(_idx(_read_single),),
    expects={"test": [str(digit) for digit in range(10)]},
    origin=_ORIGIN,
    protocol="all classes for test",
    provenance=_PROVENANCE,
    colours=1,
)
"""Where MNIST is looked for."""


def _composed_collection(name: str, side: int) -> Collection:
    read = functools.partial(_read_composed, name, side, _PER_CLASS)
    return Collection(
        name=name,
        folders=(name, name.replace("_", ""), *MNIST.folders),
        layouts=(SPLIT_FILES, _idx(read)),
        expects=load_classes(name),
        origin=_ORIGIN,
        protocol="split of torchmeta",
        provenance={**_PROVENANCE, "reference": "LeCun et al. (1998); Sun (2019), Multi-digit MNIST"},
        colours=1,
    )


DOUBLE_MNIST = _composed_collection("double_mnist", 64)
"""Where the parts of Double MNIST are looked for."""

TRIPLE_MNIST = _composed_collection("triple_mnist", 84)
"""Where the parts of Triple MNIST are looked for."""
