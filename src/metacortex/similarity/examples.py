"""Labelled sets to be compared: the groups of a data source (its alphabets), folders, or parts of a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from metacortex.data.dataset import Dataset
from metacortex.data.store import ClassStore
from metacortex.errors import DataError
from metacortex.skills.examples import find_examples
from metacortex.task import Examples
from metacortex.tasks.random import fold, permutation, root_key

__all__ = [
    "GROUP_KEYS",
    "examples_of",
    "folder_task",
    "groups_of",
    "has_groups",
    "only_classes",
    "only_shots",
    "way_of",
]

GROUP_KEYS = ("alphabet", "script", "coarse")
"""Meta-data of a class that may say which task it belongs to; the first that all classes have is taken."""


def groups_of(dataset: Dataset, split: str | None = None) -> dict[str, list[int]]:
    """Which classes of a data source belong together: an alphabet, a script, a superclass.

    Args:
        dataset: the source.
        split: only classes of this split; all when not given.

    Returns:
        Sorted name of the group -> classes of the store.

    Raises:
        DataError: if the classes of the source are not grouped.
    """
    store = dataset.store
    if (key := _key(dataset)) is None:
        raise DataError(
            f"the classes of '{dataset.name}' do not belong to groups ({', '.join(GROUP_KEYS)}): name folders of class "
            "folders as tasks"
        )
    members = range(len(store)) if split is None else sorted(set(dataset.split(split).index.tolist()))
    groups: dict[str, list[int]] = {}
    for index in members:
        groups.setdefault(store.classes[index].meta[key], []).append(index)
    return dict(sorted(groups.items()))


def has_groups(dataset: Dataset) -> bool:
    """Whether the classes of a data source say which group they belong to."""
    return _key(dataset) is not None


def _key(dataset: Dataset) -> str | None:
    return next((k for k in GROUP_KEYS if all(k in c.meta for c in dataset.store.classes)), None)


def examples_of(store: ClassStore, classes: Sequence[int], *, most: int = 0) -> Examples:
    """Some classes of a store as one labelled set.

    Args:
        store: where they are.
        classes: their indices; class slots come in this order.
        most: the first so many examples of each class; 0: all.

    Returns:
        Images ``[N, C, H, W']`` in 0–1, or rows ``[N, D]``, with targets ``[N]`` and the class mask.
    """
    parts = [np.asarray(store.of_class(c)[: most or None]) for c in classes]
    inputs = torch.from_numpy(np.concatenate(parts)).to(torch.float32)
    if parts[0].dtype == np.uint8:
        inputs = inputs / 255.0
    counts = torch.tensor([len(part) for part in parts])
    return Examples(
        inputs, torch.arange(len(parts)).repeat_interleave(counts), classes=torch.ones(len(parts), dtype=torch.bool)
    )


def folder_task(folder: Path | str, reader: Callable[[Path], np.ndarray], *, most: int = 0) -> Examples:
    """A folder with one sub-folder of images per class as a labelled set.

    Args:
        folder: the folder.
        reader: an image file as ``[C, H, W']`` uint8.
        most: the first so many images of each class; 0: all.

    Raises:
        DataError: if the folder is not like this, or an image cannot be read.
    """
    found = find_examples(folder)
    seen = [0] * len(found.classes)
    files, targets = [], []
    for file, slot in zip(found.files, found.targets, strict=True):
        seen[slot] += 1
        if not most or seen[slot] <= most:
            files.append(file)
            targets.append(slot)
    pixels = np.stack([reader(file) for file in files])
    return Examples(
        torch.from_numpy(pixels).to(torch.float32) / 255.0,
        torch.tensor(targets),
        classes=torch.ones(len(found.classes), dtype=torch.bool),
    )


def way_of(examples: Examples) -> int:
    """Number of real classes.

    Raises:
        DataError: for examples without classes.
    """
    slots = examples.way
    return slots if examples.classes is None else int(examples.classes.sum())


def only_classes(examples: Examples, count: int, seed: int = 0) -> Examples:
    """A part with so many classes, drawn at random; their slots are numbered anew.

    Raises:
        DataError: if there are fewer.
    """
    way = examples.way
    if count > way:
        raise DataError(f"expected a task of {count} classes or more, got one of {way}: ask for fewer classes")
    kept = torch.from_numpy(permutation(fold(root_key(seed, "classes"), count), way)[:count].copy())
    slots = torch.full((way,), -1)
    slots[kept] = torch.arange(count)
    rows = slots[examples.targets] >= 0
    return Examples(examples.inputs[rows], slots[examples.targets[rows]], classes=torch.ones(count, dtype=torch.bool))


def only_shots(examples: Examples, count: int) -> Examples:
    """A part with the first so many examples of each class."""
    one_hot = torch.nn.functional.one_hot(examples.targets, examples.way)
    place = (one_hot.cumsum(0) * one_hot).sum(1)  # 1 for the first example of a class
    rows = place <= count
    return Examples(examples.inputs[rows], examples.targets[rows], classes=examples.classes)
