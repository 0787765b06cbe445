"""Data sets with the usual transforms, split, labelled and seeded, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchmeta.datasets.images import (
    CIFARFS,
    CUB,
    FC100,
    DoubleMNIST,
    MiniImagenet,
    TieredImagenet,
    TripleMNIST,
)
from torchmeta.datasets.omniglot import Omniglot
from torchmeta.datasets.pascal5i import Pascal5i
from torchmeta.transforms.augmentations import Rotation
from torchmeta.transforms.categorical import Categorical
from torchmeta.transforms.splitters import ClassSplitter
from torchmeta.transforms.target_transforms import SegmentationPairTransform

__all__ = [
    "cifar_fs",
    "cub",
    "doublemnist",
    "fc100",
    "helper_with_default",
    "miniimagenet",
    "omniglot",
    "pascal5i",
    "tieredimagenet",
    "triplemnist",
]


def helper_with_default(
    klass: Any,
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Make a data set, with defaults for what is not given, and split its tasks.

    Args:
        klass: class of the data set.
        folder: its root.
        shots: training examples per class.
        ways: classes per task.
        shuffle: split at random.
        test_shots: test examples per class; as many as ``shots`` when not given.
        seed: of ``sample_task`` and of the order within splits; the classes and labels of a loader follow from
            ``random.seed`` and ``torch.manual_seed``, or from the loader's own ``seed``.
        defaults: arguments of the class unless given.
        kwargs: arguments of the class; ``num_classes_per_task`` overrides ``ways``, with a warning.

    Returns:
        The data set; its tasks are dictionaries of ``train`` and ``test``.
    """
    if "num_classes_per_task" in kwargs:
        warnings.warn(
            f"num_classes_per_task={kwargs['num_classes_per_task']} is used instead of ways={ways}", stacklevel=3
        )
        ways = kwargs.pop("num_classes_per_task")
    options = {"target_transform": Categorical(ways), **(defaults or {}), **kwargs}
    dataset = klass(folder, num_classes_per_task=ways, **options)
    dataset = ClassSplitter(
        dataset,
        shuffle=shuffle,
        num_train_per_class=shots,
        num_test_per_class=shots if test_shots is None else test_shots,
    )
    dataset.seed(seed)
    return dataset


def _stored(
    klass: Any,
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool,
    test_shots: int | None,
    seed: int | None,
    kwargs: dict[str, Any],
    **defaults: Any,
) -> Any:
    usual = {"transform": klass.classes.default_transform, **defaults}
    return helper_with_default(klass, folder, shots, ways, shuffle, test_shots, seed, usual, **kwargs)


def omniglot(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Omniglot:
    """Omniglot, 28x28; arguments as of `helper_with_default`.

    Characters rotated by 90, 180 and 270 degrees are classes of their own, in every split.
    """
    turns = [Rotation([90, 180, 270])]
    return _stored(Omniglot, folder, shots, ways, shuffle, test_shots, seed, kwargs, class_augmentations=turns)


def miniimagenet(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> MiniImagenet:
    """mini-ImageNet, 84x84; arguments as of `helper_with_default`."""
    return _stored(MiniImagenet, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def tieredimagenet(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> TieredImagenet:
    """tiered-ImageNet, 84x84; arguments as of `helper_with_default`."""
    return _stored(TieredImagenet, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def cifar_fs(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> CIFARFS:
    """CIFAR-FS, 32x32; arguments as of `helper_with_default`."""
    return _stored(CIFARFS, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def fc100(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> FC100:
    """FC100, 32x32; arguments as of `helper_with_default`."""
    return _stored(FC100, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def cub(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> CUB:
    """CUB, the middle 84x84 of 126x126; arguments as of `helper_with_default`."""
    return _stored(CUB, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def doublemnist(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> DoubleMNIST:
    """Double MNIST, 64x64; arguments as of `helper_with_default`."""
    return _stored(DoubleMNIST, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def triplemnist(
    folder: str | Path,
    shots: int,
    ways: int,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> TripleMNIST:
    """Triple MNIST, 84x84; arguments as of `helper_with_default`."""
    return _stored(TripleMNIST, folder, shots, ways, shuffle, test_shots, seed, kwargs)


def pascal5i(
    folder: str | Path,
    shots: int,
    ways: int = 1,
    shuffle: bool = True,
    test_shots: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Pascal5i:
    """PASCAL-5i, 500x500; samples are (image, mask, class). Arguments as of `helper_with_default`."""
    defaults = {"transform": SegmentationPairTransform(500), "class_augmentations": []}
    return helper_with_default(Pascal5i, folder, shots, ways, shuffle, test_shots, seed, defaults, **kwargs)
