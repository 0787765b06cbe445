"""PASCAL-5i: segmentation of classes that were not trained on, from the folder VOC2012 of the makers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metacortex.data.locations import stores_dir
from metacortex.errors import DataError
from torchmeta.utils.data.dataset import ClassDataset, CombinationMetaDataset
from torchmeta.utils.data.task import Dataset

__all__ = ["Pascal5i", "Pascal5iClassDataset", "Pascal5iDataset", "PascalDataset"]

_FOLDERS = ("pascal5i/VOCdevkit/VOC2012", "VOCdevkit/VOC2012", "VOC2012", "pascal5i")
_MASKS = ("SegmentationClassAug", "SegmentationClass")


class Pascal5iClassDataset(ClassDataset):
    """Classes of PASCAL VOC 2012: the five of a fold to test on, the other fifteen to train on.

    Args:
        root: folder that holds ``VOCdevkit/VOC2012`` (or ``VOC2012``) with ``JPEGImages``, ``ImageSets/Segmentation``
            and ``SegmentationClassAug`` or ``SegmentationClass``.
        meta_train: choose the split for meta-training.
        meta_test: or that for testing.
        meta_split: or one by name.
        transform: of (image, mask, class), e.g. `torchmeta.transforms.SegmentationPairTransform`.
        class_augmentations: not supported for masks; leave it empty.
        download: no address is known; ignored.
        fold: 0 to 3; the classes ``5 * fold + 1 .. 5 * fold + 5`` are tested on.

    Raises:
        DataError: (a ValueError) if the data are missing, or for a validation split: there is none.

    Reference: Shaban et al., "One-Shot Learning for Semantic Segmentation", 2017, §4.
    """

    def __init__(
        self,
        root: str | Path,
        meta_train: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        transform: Callable[..., Any] | None = None,
        class_augmentations: list[Any] | None = None,
        download: bool = False,
        fold: int = 0,
    ) -> None:
        super().__init__(meta_train, False, meta_test, meta_split, class_augmentations)
        if self.meta_split == "val":
            raise DataError("PASCAL-5i has no validation split: use meta_train=True or meta_test=True")
        if fold not in range(4):
            raise DataError(f"fold must be 0, 1, 2 or 3, got {fold!r}")
        self.transform = transform
        self.folder = _find(Path(root).expanduser())
        tested = range(5 * fold + 1, 5 * fold + 6)
        split = "val" if self.meta_split == "test" else "train"
        held = [number for number in range(1, 21) if (number in tested) == (self.meta_split == "test")]
        members = _members(self.folder, split)
        self._members = {number: members.get(number, []) for number in held if members.get(number)}
        self.class_ids = list(self._members)

    @property
    def num_classes(self) -> int:
        """Classes of the split that are on some picture."""
        return len(self.class_ids)

    def __getitem__(self, index: int) -> PascalDataset:
        number = self.class_ids[index % self.num_classes]
        return PascalDataset(
            index, self.folder, self._members[number], number, self.transform, self.get_target_transform(index)
        )


class PascalDataset(Dataset):
    """Pictures with one class on them: (image, mask, class id)."""

    def __init__(
        self,
        index: int,
        folder: Path,
        names: list[str],
        class_id: int,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(index, transform, target_transform)
        self.folder, self.names, self.class_id = folder, names, class_id

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        name = self.names[index]
        image: Any = Image.open(self.folder / "JPEGImages" / f"{name}.jpg").convert("RGB")
        mask: Any = Image.open(_mask_folder(self.folder) / f"{name}.png")
        if self.transform is not None:
            image, mask = self.transform(image, mask, self.class_id)  # type: ignore[call-arg]
        target = self.class_id if self.target_transform is None else self.target_transform(self.class_id)
        return image, mask, target


Pascal5iDataset = PascalDataset


class Pascal5i(CombinationMetaDataset):
    """PASCAL-5i; samples are (image, mask, class id).

    Args:
        root: see `Pascal5iClassDataset`, as the rest.
        num_classes_per_task: classes of a task.
        meta_train: choose the split for meta-training.
        meta_test: or that for testing.
        meta_split: or one by name.
        transform: of (image, mask, class).
        target_transform: of the class.
        dataset_transform: of tasks.
        class_augmentations: leave it empty.
        download: ignored.
        fold: 0 to 3.
    """

    def __init__(
        self,
        root: str | Path,
        num_classes_per_task: int | None = None,
        meta_train: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
        class_augmentations: list[Any] | None = None,
        download: bool = False,
        fold: int = 0,
    ) -> None:
        dataset = Pascal5iClassDataset(
            root, meta_train, meta_test, meta_split, transform, class_augmentations, download, fold
        )
        super().__init__(dataset, num_classes_per_task, target_transform, dataset_transform)


def _find(root: Path) -> Path:
    for name in _FOLDERS:
        place = root / name
        if (place / "JPEGImages").is_dir() and (place / "ImageSets" / "Segmentation").is_dir():
            return place
    raise DataError(
        f"PASCAL VOC 2012 is not in {root}: get VOCtrainval_11-May-2012.tar from "
        f"http://host.robots.ox.ac.uk/pascal/VOC/voc2012 and unpack it there, so that {root / _FOLDERS[1]} holds "
        "JPEGImages, ImageSets/Segmentation and SegmentationClass"
    )


def _mask_folder(folder: Path) -> Path:
    return next((folder / name for name in _MASKS if (folder / name).is_dir()), folder / _MASKS[-1])


def _members(folder: Path, split: str) -> dict[int, list[str]]:
    """Pictures by the classes on them; found once and kept, as every mask has to be read for it."""
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    masks = _mask_folder(folder)
    key = json.dumps([str(listing.resolve()), listing.stat().st_mtime_ns, masks.name, masks.stat().st_mtime_ns])
    kept = stores_dir() / f"pascal5i-{split}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
    if kept.is_file():
        return {int(number): names for number, names in json.loads(kept.read_text(encoding="utf-8")).items()}
    found: dict[int, list[str]] = {}
    for name in listing.read_text(encoding="utf-8").split():
        for number in np.unique(np.asarray(Image.open(masks / f"{name}.png"))).tolist():
            if 1 <= number <= 20:
                found.setdefault(number, []).append(name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found
