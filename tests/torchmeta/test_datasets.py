"""Stored data sets: read at once or one by one, caches of the original, defaults, errors that say what to do."""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

import torchmeta.datasets as td
from metacortex.data.collections import mini_imagenet
from metacortex.data.omniglot_lists import Lists
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from torchmeta.datasets import helpers, helpers_tabular, omniglot, stored
from torchmeta.datasets.combined import StoredMetaDataset
from torchmeta.datasets.stored import Plan, StoredClassDataset, plan_of
from torchmeta.datasets.utils import download_file_from_google_drive, get_asset, get_asset_path
from torchmeta.transforms import (
    Categorical,
    CenterCrop,
    ClassSplitter,
    Compose,
    HorizontalFlip,
    Resize,
    Rotation,
    SegmentationPairTransform,
    ToTensor,
)
from torchmeta.utils.data import BatchMetaDataLoader, ConcatTask, NonEpisodicWrapper
from torchmeta.utils.data.collate import BatchMetaCollate

TURNS = [Rotation([90, 180, 270])]
CLASSES, EACH = 8, 20


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))


class NoiseClasses(StoredClassDataset):
    """Noise, of whatever size is asked for."""

    source, native = "noise", 6
    default_transform = ToTensor()

    def load(self, size: int) -> ClassView:
        pixels = np.random.default_rng(0).integers(0, 256, (CLASSES * EACH, 1, self.native, self.native), np.uint8)
        if size != self.native:
            shape = (size, size)
            pixels = np.stack([np.asarray(Image.fromarray(p[0]).resize(shape))[None] for p in pixels])
        store = ClassStore.from_arrays(pixels, np.repeat(np.arange(CLASSES), EACH), [f"c{i}" for i in range(CLASSES)])
        return ClassView.of(store)


class Noise(StoredMetaDataset):
    classes = NoiseClasses


def noise(**options: Any) -> Any:
    options = {"transform": ToTensor(), "target_transform": Categorical(3), "class_augmentations": TURNS} | options
    return Noise("nowhere", 3, meta_train=True, **options)


def batches(data: Any, collate: Any) -> Any:
    torch.manual_seed(0)
    data.seed(0)
    return collate([data[(0, 1, 2)], data[(9, 31, 3)]])


@pytest.mark.parametrize(
    "transform", [ToTensor(), Compose([Resize(4), ToTensor()]), Compose([CenterCrop(4), ToTensor()])]
)
@pytest.mark.parametrize("divided", [True, False])
def test_one_gather_equals_one_by_one(transform: Any, divided: bool) -> None:
    data = noise(transform=transform)
    if divided:
        ClassSplitter(data, num_train_per_class=1, num_test_per_class=15)
    assert data.dataset.reader is not None
    at_once = batches(data, BatchMetaCollate())
    one_by_one = batches(data, BatchMetaCollate(lambda items: default_collate(items)))
    pairs = [(at_once[k], one_by_one[k]) for k in ("train", "test")] if divided else [(at_once, one_by_one)]
    for mine, other in pairs:
        assert torch.equal(mine[0], other[0])
        assert torch.equal(mine[1], other[1])
        assert mine[1].dtype == torch.int64


def test_stored_and_pillow_images_agree() -> None:
    """The same pixels from the store as through Pillow and an unusual transform, turned classes included."""
    stored = noise()
    pillow = noise(transform=lambda image: ToTensor()(image))
    assert pillow.dataset.reader is None
    for number in (0, 9, 17, 31):
        for member in (0, 19):
            assert torch.equal(stored.dataset[number][member][0], pillow.dataset[number][member][0])
    assert isinstance(noise(transform=None).dataset[0][0][0], Image.Image)


def test_other_augmentations_are_read_one_by_one() -> None:
    flipped = noise(class_augmentations=[HorizontalFlip()])
    assert flipped.dataset.reader is None
    assert torch.equal(flipped.dataset[8][0][0], flipped.dataset[0][0][0].flip(-1))


@pytest.mark.parametrize(
    ("transform", "plan"),
    [
        (ToTensor(), Plan(10)),
        (Compose([Resize(8), ToTensor()]), Plan(8)),
        (Compose([Resize((8, 8)), CenterCrop(6), ToTensor()]), Plan(8, 6)),
        (Compose([Resize((8, 6)), ToTensor()]), None),
        (Compose([CenterCrop(12), ToTensor()]), None),
        (Compose([ToTensor(), lambda x: x]), None),
        (Resize(3), None),
        (None, None),
    ],
)
def test_usual_transforms(transform: Any, plan: Plan | None) -> None:
    assert plan_of(transform, 10) == plan


def test_a_transform_that_is_changed_later() -> None:
    data = noise()
    assert data.dataset.reader is not None
    data.dataset.transform = lambda image: torch.zeros(1)
    assert data.dataset.reader is None
    assert data.dataset[0][0][0].tolist() == [0.0]


class OwnClasses(NoiseClasses):
    def __getitem__(self, index: int) -> Any:
        one = super().__getitem__(index)
        one.label = f"own {one.label}"
        return one


def test_subclasses_of_stored_classes() -> None:
    class Own(Noise):
        classes = OwnClasses

    assert Own("nowhere", 2, meta_train=True)[(0, 1)][0][1] == ("own c0", 0)
    assert NonEpisodicWrapper(noise())[20][1] == ("c1", 0)
    with pytest.raises(IndexError):
        noise().dataset[32]
    with pytest.raises(IndexError):
        noise().dataset[0][20]


def test_without_a_splitter_there_is_a_default_one() -> None:
    data = Noise("nowhere", num_classes_per_task=3, meta_train=True)
    loader = BatchMetaDataLoader(data, batch_size=16, num_workers=4)
    assert (len(loader), loader.num_workers) == (50, 0)  # 800 tasks
    found = list(loader)
    assert len(found) == 50
    assert [found[0][k][0].shape for k in ("train", "test")] == [(16, 3, 1, 6, 6), (16, 45, 1, 6, 6)]
    assert sorted(found[0]["train"][1][0].tolist()) == [0, 1, 2]
    more = Noise("nowhere", 3, meta_train=True, shots=2, test_shots=4, tasks_per_epoch=10)
    batch = next(iter(BatchMetaDataLoader(more, batch_size=5)))
    assert [batch[k][1].shape for k in ("train", "test")] == [(5, 6), (5, 12)]
    assert len(BatchMetaDataLoader(more, batch_size=5)) == 2
    # what a program asks for directly is what torchmeta gave it
    assert isinstance(data[(0, 1, 2)], ConcatTask)
    assert data[(0, 1, 2)][0][1] == ("c0", 0)
    with pytest.raises(ValueError, match="shots must be a whole number of at least 1"):
        Noise("nowhere", 3, meta_train=True, shots=0)


def test_programs_with_a_splitter_or_labels_keep_the_endless_loader() -> None:
    data = ClassSplitter(noise(class_augmentations=None), num_train_per_class=1, num_test_per_class=2)
    assert len(BatchMetaDataLoader(data, batch_size=1)) == 56
    late = ClassSplitter(Noise("nowhere", 3, meta_train=True), num_train_per_class=1, num_test_per_class=2)
    assert len(BatchMetaDataLoader(late, batch_size=1)) == 56
    inputs, targets = next(iter(BatchMetaDataLoader(noise(), batch_size=2)))
    assert (inputs.shape, targets.shape) == ((2, 60, 1, 6, 6), (2, 60))
    kept = noise(target_transform=Categorical(3), shots=1)
    assert sorted(next(iter(BatchMetaDataLoader(kept)))) == ["test", "train"]


def test_closed_classes_open_again() -> None:
    noise().dataset.close()  # before the first use
    data = noise()
    first = data.dataset[9][3][0]
    data.dataset.close()
    assert torch.equal(data.dataset[9][3][0], first)


def test_used_data_sets_pickle() -> None:
    data = ClassSplitter(noise(), num_train_per_class=1, num_test_per_class=15)
    first = batches(data, BatchMetaCollate())
    again = batches(pickle.loads(pickle.dumps(data)), BatchMetaCollate())
    assert torch.equal(first["test"][0], again["test"][0])


@pytest.fixture
def old_omniglot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchmeta's cache of an Omniglot of twelve characters."""
    characters = {"background": {"Bb": 3, "Aa": 3}, "evaluation": {"Dd": 6}}
    vinyals = {"train": {"Aa": "all", "Dd": [1, 2]}, "val": {"Bb": "all"}, "test": {"Dd": [3, 4, 5, 6]}}
    lists = Lists(characters["background"], characters["evaluation"], {}, vinyals)
    monkeypatch.setattr(omniglot, "load_lists", lambda: lists)
    folder = tmp_path / "old" / "omniglot"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with h5py.File(folder / "data.hdf5", "w") as file:
        for part, alphabets in characters.items():
            for alphabet, count in alphabets.items():
                for i in range(1, count + 1):
                    drawings = rng.integers(0, 256, (20, 105, 105), np.uint8)
                    file.create_dataset(f"images_{part}/{alphabet}/character{i:02d}", data=drawings)
    return folder.parent


def test_omniglot_from_the_cache_of_torchmeta(old_omniglot: Path) -> None:
    data = helpers.omniglot(old_omniglot, shots=1, ways=5, test_shots=15, meta_train=True)
    assert data.dataset.labels == [
        *(f"images_background/Aa/character0{i}" for i in (1, 2, 3)),
        *(f"images_evaluation/Dd/character0{i}" for i in (1, 2)),
    ]
    assert len(data.dataset) == 20  # turned classes in every split
    assert len(helpers.omniglot(old_omniglot, shots=1, ways=5, meta_test=True).dataset) == 16
    random.seed(0)
    torch.manual_seed(0)
    batch = next(iter(BatchMetaDataLoader(data, batch_size=2)))
    assert batch["train"][0].shape == (2, 5, 1, 28, 28)
    assert 0.0 <= float(batch["train"][0].min()) < float(batch["train"][0].max()) <= 1.0
    image, label = td.Omniglot(old_omniglot, 2, meta_test=True).dataset[0][0]
    assert (image.size, image.mode, label) == ((105, 105), "L", "images_evaluation/Dd/character03")
    with h5py.File(old_omniglot / "omniglot" / "data.hdf5") as file:
        assert np.array_equal(np.asarray(image), file["images_evaluation/Dd/character03"][0])


def test_omniglot_without_vinyals_split(old_omniglot: Path) -> None:
    train = td.Omniglot(old_omniglot, 2, meta_train=True, use_vinyals_split=False).dataset
    test = td.Omniglot(old_omniglot, 2, meta_test=True, use_vinyals_split=False).dataset
    assert (train.num_classes, test.num_classes) == (6, 6)
    assert train.labels[0] == "images_background/Aa/character01"
    with pytest.raises(ValueError, match="validation split only with use_vinyals_split=True"):
        td.Omniglot(old_omniglot, 2, meta_val=True, use_vinyals_split=False)


def write_split_files(folder: Path, make: Any, sizes: dict[str, int]) -> None:
    """torchmeta's ``{split}_data.hdf5`` and ``{split}_labels.json``."""
    folder.mkdir(parents=True)
    for split, count in sizes.items():
        names = [f"n{split}{i}" for i in range(count)]
        (folder / f"{split}_labels.json").write_text(json.dumps(names), encoding="utf-8")
        with h5py.File(folder / f"{split}_data.hdf5", "w") as file:
            for name in names:
                file.create_dataset(f"datasets/{name}", data=make())


def test_mini_imagenet_from_the_cache_of_torchmeta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = dict.fromkeys(("train", "val", "test"))
    small = dataclasses.replace(mini_imagenet.MINI_IMAGENET, expects=free)  # 4 of 600: caches may hold a part
    monkeypatch.setattr(mini_imagenet, "MINI_IMAGENET", small)
    rng = np.random.default_rng(0)
    shape = (4, 84, 84, 3)
    write_split_files(
        tmp_path / "miniimagenet", lambda: rng.integers(0, 256, shape, np.uint8), {"train": 2, "val": 3, "test": 2}
    )
    data = helpers.miniimagenet(tmp_path, shots=1, ways=2, test_shots=3, meta_val=True)
    assert data.dataset.labels == ["nval0", "nval1", "nval2"]
    batch = next(iter(BatchMetaDataLoader(data, batch_size=2)))
    assert batch["test"][0].shape == (2, 6, 3, 84, 84)
    with h5py.File(tmp_path / "miniimagenet" / "val_data.hdf5") as file:
        expected = torch.from_numpy(file["datasets/nval1"][2]).permute(2, 0, 1).float() / 255
    assert torch.equal(data.dataset[1][2][0], expected)


def test_tables_from_the_cache_of_torchmeta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    write_split_files(tmp_path / "letter", lambda: rng.normal(size=(15, 4)), {"train": 15, "val": 5, "test": 6})
    data = helpers_tabular.letter(tmp_path, shots=2, ways=3, test_shots=5, meta_test=True)
    batch = next(iter(BatchMetaDataLoader(data, batch_size=2)))
    assert (batch["test"][0].shape, batch["test"][0].dtype) == ((2, 15, 4), torch.float32)
    raw = td.Letter(tmp_path, 3, meta_test=True, process_features=True).dataset
    assert isinstance(raw[0][0][0], np.ndarray)
    with pytest.raises(ValueError, match=r"bach is not on this machine.*metacortex data add bach --from FOLDER"):
        td.Bach(tmp_path, 3, meta_test=True)


@pytest.mark.parametrize(
    "name", ["Omniglot", "MiniImagenet", "TieredImagenet", "CIFARFS", "FC100", "CUB", "DoubleMNIST", "TripleMNIST"]
)
def test_missing_data_say_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"is not on this machine \(looked in .*: metacortex data add \w+ --from"
    ) as error:
        getattr(td, name)(tmp_path / "data", 5, meta_train=True)
    assert str(tmp_path / "data") in str(error.value)


def test_download_is_that_of_metacortex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(stored, "fetch", asked.append)
    with pytest.raises(ValueError, match="omniglot is not on this machine"):
        td.Omniglot(tmp_path, 5, meta_train=True, download=True)
    with pytest.raises(ValueError, match="mini_imagenet is not on this machine"):
        td.MiniImagenet(tmp_path, 5, meta_train=True, download=True)
    assert asked == ["omniglot"]  # there is no address for the other


def test_several_splits_and_too_many_classes() -> None:
    with pytest.raises(ValueError, match="several splits were chosen"):
        Noise("nowhere", 3, meta_train=True, meta_test=True)
    with pytest.raises(ValueError, match="from 1 to 8, the classes of split 'train'"):
        Noise("nowhere", 9, meta_train=True)


def test_helper_with_own_class() -> None:
    data = helpers.helper_with_default(Noise, "x", 1, 3, meta_train=True, defaults={"transform": ToTensor()}, seed=1)
    assert data.target_transform.num_classes == 3
    first = data.sample_task()["train"].index
    data.seed(1)
    assert data.sample_task()["train"].index == first
    with pytest.warns(UserWarning, match="num_classes_per_task=2 is used instead of ways=3"):
        assert helpers.helper_with_default(Noise, "x", 1, 3, meta_train=True, num_classes_per_task=2)


def test_pascal(tmp_path: Path) -> None:
    place = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (place / folder).mkdir(parents=True)
    names = [f"p{i}" for i in range(12)]
    for i, name in enumerate(names):
        Image.new("RGB", (4, 4), "white").save(place / "JPEGImages" / f"{name}.jpg")
        mask = np.zeros((4, 4), np.uint8)
        mask[:2] = 1 + i % 6
        Image.fromarray(mask).save(place / "SegmentationClass" / f"{name}.png")
    for split in ("train", "val"):
        (place / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
    test = td.Pascal5i(tmp_path, 1, meta_test=True, transform=SegmentationPairTransform(4))
    assert test.dataset.class_ids == [1, 2, 3, 4, 5]
    assert td.Pascal5i(tmp_path, 1, meta_train=True).dataset.class_ids == [6]
    assert td.Pascal5i(tmp_path, 1, meta_test=True, fold=1).dataset.class_ids == [6]
    data = helpers.pascal5i(tmp_path, shots=1, meta_test=True)
    image, inside, label = data[(2,)]["train"][0]
    assert (image.shape, inside.shape, label) == ((3, 500, 500), (1, 500, 500), 0)
    with pytest.raises(ValueError, match="no validation split"):
        td.Pascal5i(tmp_path, 1, meta_split="val")
    with pytest.raises(ValueError, match=r"VOCtrainval_11-May-2012\.tar"):
        td.Pascal5i(tmp_path / "nowhere", 1, meta_test=True)


def test_lists_of_classes() -> None:
    assert [len(get_asset("cub", f"{s}.json", dtype="json")) for s in ("train", "val", "test")] == [100, 50, 50]
    assert len(get_asset("cifar100", "cifar-fs", "test.json")) == 20
    assert len(get_asset("omniglot", "train.json")) == 1028
    assert json.loads(Path(get_asset_path("doublemnist", "val.json")).read_text()) == get_asset(
        "doublemnist", "val.json"
    )
    with pytest.raises(ValueError, match="there is no list"):
        get_asset("birds", "train.json")


def test_what_is_not_provided_says_so() -> None:
    with pytest.raises(NotImplementedError, match="TCGA is not provided"):
        td.TCGA("data")
    with pytest.raises(NotImplementedError, match="metacortex data fetch"):
        download_file_from_google_drive("id", "root")
