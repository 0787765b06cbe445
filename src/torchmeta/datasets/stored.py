"""Classes whose examples lie in a store of metacortex.

Where the transform of the inputs is one of the usual ones (``ToTensor``, after ``Resize`` and ``CenterCrop`` or not)
and augmentations are quarter turns, examples come scaled from a store of that size, and whole batches by one index
gather. Any other transform gets a Pillow image of the source's own size, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metacortex.data.downloads.addresses import downloads_of
from metacortex.data.downloads.fetch import fetch
from metacortex.data.locations import searching_first
from metacortex.data.registry import load_dataset
from metacortex.data.store import ClassInfo
from metacortex.data.view import ClassView
from metacortex.errors import DataError
from metacortex.tasks.reading import ExampleReader
from torchmeta.transforms.augmentations import Rotation
from torchmeta.transforms.vision import own
from torchmeta.utils.data.dataset import ClassDataset
from torchmeta.utils.data.task import Dataset

__all__ = ["Plan", "StoredClassDataset", "StoredDataset", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """How a usual transform is done by a store.

    Attributes:
        size: pixels on a side of the store; 0 for rows of a table.
        crop: pixels on a side of the middle that is taken, 0 for all.
    """

    size: int
    crop: int = 0


def plan_of(transform: Any, native: int) -> Plan | None:
    """The plan for a transform of images, ``None`` where it is not a usual one.

    Args:
        transform: of Pillow images.
        native: pixels on a side of the source.
    """
    parts = _flat(transform)
    if any(type(p).__name__ not in own or type(p).__module__.split(".")[0] not in _MAKERS for p in parts):
        return None
    if not parts or type(parts[-1]).__name__ != "ToTensor":
        return None
    size, crop = native, 0
    for part in parts[:-1]:
        sides = [part.size] if isinstance(part.size, int) else list(part.size)
        if len(set(sides)) != 1 or crop:
            return None
        if type(part).__name__ == "Resize":
            size = int(sides[0])
        elif type(part).__name__ == "CenterCrop" and sides[0] <= size:
            crop = int(sides[0])
        else:
            return None
    return Plan(size, 0 if crop == size else crop)


_MAKERS = ("torchvision", "torchmeta")


def _flat(transform: Any) -> list[Any]:
    parts = getattr(transform, "transforms", None)
    if isinstance(parts, (list, tuple)):
        return [inner for part in parts for inner in _flat(part)]
    return [] if transform is None else [transform]


class _Reader:
    """Reads examples of a view, cut to their middle where asked for."""

    def __init__(self, view: ClassView, crop: int) -> None:
        self._reader, self._crop = ExampleReader(view, torch.float32), crop

    def read(self, classes: np.ndarray, members: np.ndarray) -> Tensor:
        """``[N, ...]`` floats."""
        examples = self._reader.read(classes, members)
        if not self._crop:
            return examples
        start = round((examples.shape[-1] - self._crop) / 2)
        return examples[..., start : start + self._crop, start : start + self._crop].contiguous()


class StoredClassDataset(ClassDataset):
    """Classes of a data source of metacortex.

    Args:
        root: folder in which the source is looked for first, laid out as torchmeta's, as the files of the makers, or as
            ``$METACORTEX_DATA``; it may be empty or missing where metacortex knows the data already.
        meta_train: choose the split for meta-training.
        meta_val: or that for validation.
        meta_test: or that for testing.
        meta_split: or one by name.
        transform: of inputs.
        class_augmentations: see `ClassDataset`.
        download: where the data are missing and metacortex knows an address, fetch them into its own folder.

    Raises:
        DataError: if the data are missing, saying what to put where.
    """

    source: ClassVar[str]
    """Name of the source in metacortex."""
    native: ClassVar[int]
    """Pixels on a side of its images, 0 for a table."""
    default_transform: ClassVar[Any] = None
    """What most programs use."""

    def __init__(
        self,
        root: str | Path,
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        class_augmentations: list[Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(meta_train, meta_val, meta_test, meta_split, class_augmentations)
        self.root = Path(root).expanduser()
        self.transform = transform
        self._views: dict[int, ClassView] = {}
        self._readers: dict[Plan, _Reader] = {}
        self._known: tuple[Any, _Reader | None] = (self, None)
        plan = self._plan(transform) or self._plan(self.default_transform) or Plan(self.native)
        if download:
            self._fetch(plan.size)
        view = self._view(plan.size)
        self._labels = [self.label_of(view.store.classes[i]) for i in view.index.tolist()]
        self._counts = view.counts().tolist()

    def load(self, size: int) -> ClassView:
        """The classes of the split, in any order, at a size."""
        with searching_first(self.root):
            data = load_dataset(self.source, **({"size": size} if self.native else {}))
        return data.split(str(self.meta_split))

    def label_of(self, info: ClassInfo) -> str:
        """The label of a class, by which the classes are sorted."""
        return info.name

    @property
    def labels(self) -> list[str]:
        """The labels of the classes, sorted."""
        return list(self._labels)

    @property
    def num_classes(self) -> int:
        """Number of classes without augmentations."""
        return len(self._labels)

    def __getitem__(self, index: int) -> StoredDataset:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"class {index} is outside the {count} there are, augmentations included")
        return StoredDataset(index % count, self, self.get_target_transform(index % count))

    def close(self) -> None:
        """Let go of the stores, which are opened again when they are needed."""
        self._views.clear()
        self._readers.clear()
        self._known = (self, None)

    @property
    def reader(self) -> Any:
        """What reads examples under the present transform; ``None`` where it is not a usual one."""
        if self._known[0] is not self.transform:
            self._known = (self.transform, self._make_reader())
        return self._known[1]

    def _make_reader(self) -> _Reader | None:
        plan = self._plan(self.transform)
        if plan is None or type(self).get_transform is not ClassDataset.get_transform:
            return None
        if plan not in self._readers:
            turns = [turn for a in self.class_augmentations if (turn := _quarters(a)) is not None]
            view = self._view(plan.size)
            if plan.size:
                index = np.tile(view.index, len(turns) + 1)
                view = ClassView(view.store, index, np.repeat([0, *turns], len(view)))
            self._readers[plan] = _Reader(view, plan.crop)
        return self._readers[plan]

    def raw(self, index: int, member: int) -> Any:
        """An example as the source has it: a Pillow image, or a row."""
        view = self._view(self.native)
        example = view.store.of_class(int(view.index[index % self.num_classes]))[member]
        if not self.native:
            return np.array(example)
        # [C, H, W] -> [H, W] or [H, W, C]
        return Image.fromarray(example[0] if len(example) == 1 else np.ascontiguousarray(example.transpose(1, 2, 0)))

    def _view(self, size: int) -> ClassView:
        """The classes of the split, sorted by label."""
        if size not in self._views:
            view = self.load(size)
            labels = [self.label_of(view.store.classes[i]) for i in view.index.tolist()]
            order = np.array(sorted(range(len(labels)), key=labels.__getitem__), dtype=np.int64)
            self._views[size] = ClassView.of(view.store, view.index[order])
        return self._views[size]

    def _plan(self, transform: Any) -> Plan | None:
        if any(_quarters(augmentation) is None for augmentation in self.class_augmentations):
            return None
        if not self.native:
            return Plan(0) if [type(p).__name__ for p in _flat(transform)] == ["NumpyToTorch"] else None
        return plan_of(transform, self.native)

    def _fetch(self, size: int) -> None:
        try:
            self.load(size)
        except DataError:
            if not downloads_of(self.source):
                raise
            with searching_first(self.root):
                fetch(self.source)


class StoredDataset(Dataset):
    """The examples of one class.

    Args:
        index: number of the class.
        classes: where it comes from.
        target_transform: applied to its label.

    Attributes:
        label: what its examples are called.
    """

    def __init__(
        self, index: int, classes: StoredClassDataset, target_transform: Callable[[Any], Any] | None = None
    ) -> None:
        super().__init__(index, classes.get_transform(index, classes.transform), target_transform)
        self._classes, self._given = classes, self.transform
        self._number = index % classes.num_classes
        self.label = classes._labels[self._number]

    def __len__(self) -> int:
        return self._classes._counts[self._number]

    @property
    def gather(self) -> tuple[Any, int] | None:
        """What reads its examples, and the number of the class there; ``None`` for one by one."""
        if type(self).__getitem__ is not StoredDataset.__getitem__ or self.transform is not self._given:
            return None
        reader = self._classes.reader
        return None if reader is None else (reader, self.index)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} is outside the {len(self)} of class {self.label}")
        member, gather = index % len(self), self.gather
        if gather is not None:
            example: Any = gather[0].read(np.array([gather[1]]), np.array([member]))[0]
        else:
            example = self._classes.raw(self.index, member)
            example = example if self.transform is None else self.transform(example)
        target = self.label if self.target_transform is None else self.target_transform(self.label)
        return example, target


def _quarters(augmentation: Any) -> int | None:
    plain = isinstance(augmentation, Rotation) and not augmentation.expand and augmentation.center is None
    return augmentation.quarters if plain else None
