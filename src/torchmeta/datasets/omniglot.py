"""Omniglot by torchmeta's names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metacortex.data.collections.hdf5 import open_hdf5
from metacortex.data.locations import searching_first, stores_dir
from metacortex.data.omniglot import find_omniglot
from metacortex.data.omniglot_lists import load_lists, protocol_splits
from metacortex.data.registry import load_dataset
from metacortex.data.store import ClassInfo, ClassStore, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import DataError
from torchmeta.datasets.combined import StoredMetaDataset
from torchmeta.datasets.stored import StoredClassDataset, StoredDataset
from torchmeta.transforms.vision import Compose, Resize, ToTensor

__all__ = ["Omniglot", "OmniglotClassDataset", "OmniglotDataset"]

OmniglotDataset = StoredDataset


class OmniglotClassDataset(StoredClassDataset):
    """Characters, sorted by (set, alphabet, character); ink is 1.

    Args:
        root: see `StoredClassDataset`; it may hold torchmeta's ``omniglot/data.hdf5``.
        use_vinyals_split: 1028, 172 and 423 characters; otherwise the 964 background characters to train on and the
            659 of the evaluation set to test on.
        options: as of `StoredClassDataset`.

    Raises:
        DataError: (a ValueError) for the validation split without Vinyals' split.
    """

    source, native = "omniglot", 105
    default_transform = Compose([Resize(28), ToTensor()])

    def __init__(self, root: str | Path, *args: Any, use_vinyals_split: bool = True, **options: Any) -> None:
        self.use_vinyals_split = use_vinyals_split
        super().__init__(root, *args, **options)

    def load(self, size: int) -> ClassView:
        """The characters of the split at a size."""
        if self.meta_split == "val" and not self.use_vinyals_split:
            raise DataError("omniglot has a validation split only with use_vinyals_split=True")
        cache = self.root / "omniglot" / "data.hdf5"
        if cache.is_file() and not _archives_below(self.root):
            store = _store_of_cache(cache, size)
        else:
            with searching_first(self.root):
                store = load_dataset("omniglot", size=size, rotations="none").store
        return ClassView.of(store, [i for i, info in enumerate(store.classes) if self._wanted(info)])

    def label_of(self, info: ClassInfo) -> str:
        """``images_background/Alphabet/characterNN``."""
        return f"images_{info.meta['part']}/{info.name}"

    def _wanted(self, info: ClassInfo) -> bool:
        if self.use_vinyals_split:
            return info.name in protocol_splits("vinyals", load_lists())[str(self.meta_split)]
        return info.meta["part"] == ("background" if self.meta_split == "train" else "evaluation")


class Omniglot(StoredMetaDataset):
    """Omniglot: 1,623 characters of 50 alphabets, 20 drawings each.

    Args:
        root: see `StoredMetaDataset`, as the rest.
        num_classes_per_task: classes of a task.
        meta_train: choose the split for meta-training.
        meta_val: or that for validation.
        meta_test: or that for testing.
        meta_split: or one by name.
        use_vinyals_split: see `OmniglotClassDataset`.
        transform: of inputs, Pillow images of 105x105, ink bright on black.
        target_transform: of targets.
        dataset_transform: of tasks.
        class_augmentations: e.g. ``[Rotation([90, 180, 270])]``.
        download: fetch it where it is missing.
        options: ``shots``, ``test_shots``, ``tasks_per_epoch``.

    Reference: Lake, Salakhutdinov and Tenenbaum (2015), Science 350(6266).
    """

    classes = OmniglotClassDataset

    def __init__(
        self,
        root: str | Path,
        num_classes_per_task: int | None = None,
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        use_vinyals_split: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
        class_augmentations: list[Any] | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            root,
            num_classes_per_task,
            meta_train,
            meta_val,
            meta_test,
            meta_split,
            transform,
            target_transform,
            dataset_transform,
            class_augmentations,
            download,
            use_vinyals_split=use_vinyals_split,
            **options,
        )


def _archives_below(root: Path) -> bool:
    with searching_first(root):
        try:
            return find_omniglot().is_relative_to(root)
        except DataError:
            return False


def _store_of_cache(cache: Path, size: int) -> ClassStore:
    """A store of what torchmeta left on the disk."""
    state = cache.stat()
    key = json.dumps([str(cache.resolve()), size, state.st_size, state.st_mtime_ns])
    path = stores_dir() / f"omniglot-torchmeta-{size}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def build() -> ClassStore:
        with ExitStack() as stack:
            file, classes = open_hdf5(cache, stack), []
            for part in ("background", "evaluation"):
                group = file.get(f"images_{part}")
                for alphabet in group or ():
                    for character in group[alphabet]:
                        info = ClassInfo(f"{alphabet}/{character}", 0, {"alphabet": alphabet, "part": part})
                        classes.append((info, _scaled(group[alphabet][character], size)))
            if not classes:
                raise DataError(f"{cache}: there is neither images_background nor images_evaluation in it: delete it")
            return build_store(path, "omniglot", (1, size, size), classes)

    return open_or_build(path, build)


def _scaled(drawings: Any, size: int) -> Iterator[np.ndarray]:
    for drawing in np.asarray(drawings):
        if drawing.shape == (size, size):
            yield drawing[None]
        else:
            yield np.asarray(Image.fromarray(drawing).resize((size, size), Image.Resampling.LANCZOS))[None]
