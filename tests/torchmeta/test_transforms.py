"""Transforms: labels, augmentations, splitters."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from number_classes import Numbers, meta_dataset
from PIL import Image

from torchmeta.toy import Sinusoid
from torchmeta.transforms import (
    Categorical,
    CenterCrop,
    ClassSplitter,
    Compose,
    DefaultTargetTransform,
    FixedCategory,
    HorizontalFlip,
    NumpyToTorch,
    Resize,
    Rotation,
    SegmentationPairTransform,
    Splitter,
    ToTensor,
    VerticalFlip,
    WeightedClassSplitter,
)
from torchmeta.transforms.utils import apply_wrapper, wrap_transform
from torchmeta.utils.data import ConcatTask, Task


def test_categorical() -> None:
    labels = Categorical()
    assert [labels(x) for x in "bab"] == [0, 1, 0]
    torch.manual_seed(0)
    expected = torch.randperm(4).tolist()
    torch.manual_seed(0)
    drawn = Categorical(4)
    before = torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn until the first use
    assert [drawn(x) for x in "wxyzw"] == [*expected, expected[0]]
    with pytest.raises(ValueError, match="met one more label: 'v'"):
        drawn("v")
    drawn.reset()
    assert drawn.classes == {}
    assert pickle.loads(pickle.dumps(drawn))("a") in range(4)


def test_labels_with_augmentations() -> None:
    turns = list(Rotation([90, 180]))
    default = DefaultTargetTransform(turns)
    assert default(FixedCategory(turns[1])("a")) == ("a", 2)
    assert default(FixedCategory(None)("a")) == ("a", 0)
    assert DefaultTargetTransform([])("a") == ("a", 0)


def test_rotation() -> None:
    assert Rotation(90) == Rotation(450)
    assert hash(Rotation(90)) == hash(Rotation(-270))
    assert Rotation(90) != Rotation(180)
    with pytest.warns(UserWarning, match="leaves images as they are"):
        Rotation(360)
    image = Image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3))
    assert np.array_equal(np.asarray(Rotation(90)(image)), np.rot90(np.asarray(image)))
    tensor = torch.arange(9).reshape(1, 3, 3)
    assert torch.equal(Rotation(90)(tensor), torch.rot90(tensor, 1, (1, 2)))
    with pytest.raises(ValueError, match="several angles"):
        Rotation([90, 180])(image)


def test_flips() -> None:
    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    image, tensor = Image.fromarray(pixels), torch.from_numpy(pixels)
    assert np.array_equal(np.asarray(HorizontalFlip()(image)), pixels[:, ::-1])
    assert np.array_equal(VerticalFlip()(tensor), pixels[::-1])
    assert list(HorizontalFlip()) == [HorizontalFlip()]
    assert HorizontalFlip() != VerticalFlip()


def test_image_transforms() -> None:
    image = Image.fromarray(np.full((10, 20), 51, np.uint8))
    done = Compose([Resize(5), CenterCrop(4), ToTensor()])(image)
    assert done.shape == (1, 4, 4)
    assert torch.equal(done, torch.full((1, 4, 4), 51 / 255))
    assert Resize((3, 7))(image).size == (7, 3)
    assert ToTensor()(np.zeros((2, 3, 4), np.uint8)).shape == (4, 2, 3)
    assert NumpyToTorch()(np.zeros(3)).dtype == torch.float32
    assert NumpyToTorch()(np.zeros(3, np.int64)).dtype == torch.int64


def test_segmentation_pair() -> None:
    mask = Image.fromarray(np.array([[0, 3], [3, 1]], np.uint8))
    picture, inside = SegmentationPairTransform(4)(Image.new("RGB", (2, 2), "white"), mask, 3)
    assert picture.shape == (3, 4, 4)
    assert float(picture.min()) == 1.0
    assert inside[0, ::2, ::2].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("classes", "expected"), [((0, 1, 2, 3, 4), [4, 29, 57, 73, 98]), ((1, 0, 2, 3, 4), [6, 21, 53, 69, 89])]
)
def test_members_are_those_of_torchmeta(classes: tuple[int, ...], expected: list[int]) -> None:
    data = ClassSplitter(meta_dataset(), shuffle=True, num_train_per_class=1, num_test_per_class=15)
    parts = data[classes]
    assert list(parts) == ["train", "test"]
    assert parts["train"].indices == expected
    assert len(parts["test"]) == 75
    data.seed(7)  # only the order within a split depends on the seed
    again = data[classes]
    assert again["train"].indices == expected
    assert sorted(again["test"].indices) == sorted(parts["test"].indices)
    assert again["test"].indices != parts["test"].indices
    data.seed(7)
    assert data[classes]["test"].indices == again["test"].indices


def test_splits_are_disjoint_and_in_class_order() -> None:
    parts = ClassSplitter(meta_dataset(), num_support_per_class=3, num_query_per_class=17)[(9, 8, 7, 6, 5)]
    assert list(parts) == ["support", "query"]
    support, query = parts["support"].indices, parts["query"].indices
    assert sorted(support + query) == list(range(100))
    assert [i // 20 for i in support] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert hash(parts["support"]) == hash(((9, 8, 7, 6, 5), tuple(support)))


def test_splitter_without_shuffling_and_by_names() -> None:
    sizes = {"a": 2, "b": 1}
    parts = ClassSplitter(meta_dataset(), shuffle=False, num_samples_per_class=sizes)[(0, 1, 2, 3, 4)]
    assert parts["a"].indices == [0, 1, 20, 21, 40, 41, 60, 61, 80, 81]
    assert parts["b"].indices == [2, 22, 42, 62, 82]


def test_splitters_are_applied_to_what_they_are_given() -> None:
    transform = ClassSplitter(num_train_per_class=1, num_test_per_class=1)
    assert isinstance(transform, Splitter)
    assert len(transform) == 2
    data = meta_dataset()
    assert ClassSplitter(data, num_train_per_class=1, num_test_per_class=1) is data
    task = meta_dataset()[(0, 1, 2, 3, 4)]
    assert isinstance(task, ConcatTask)
    assert len(transform(task)["test"]) == 5
    with pytest.raises(TypeError, match="a Task or a MetaDataset, got int"):
        apply_wrapper(transform, 3)
    with pytest.raises(TypeError, match="only a Task can be split"):
        transform(3)


def test_a_splitter_comes_after_the_dataset_transform() -> None:
    seen: list[Any] = []
    data = meta_dataset(dataset_transform=lambda task: seen.append(task) or task)
    ClassSplitter(data, num_train_per_class=1, num_test_per_class=1)
    assert list(data[(0, 1, 2, 3, 4)]) == ["train", "test"]
    assert len(seen) == 1


@pytest.mark.parametrize("options", [{}, {"num_train_per_class": 1, "num_query_per_class": 1}])
def test_splitter_needs_sizes(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="train and test, or of support and query"):
        ClassSplitter(**options)


def test_classes_that_are_too_small() -> None:
    data = ClassSplitter(meta_dataset(), num_train_per_class=10, num_test_per_class=11)
    with pytest.raises(ValueError, match=r"has 20 examples, the splits .* need 21"):
        data[(0, 1, 2, 3, 4)]


class Labelled(Task):
    def __init__(self, labels: list[int]) -> None:
        super().__init__(5, len(set(labels)))
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, self.labels[index]


def test_plain_tasks_are_split_by_their_targets() -> None:
    task = Labelled([1, 0, 1, 0, 1, 0, 1, 0])
    parts = ClassSplitter(task, num_train_per_class=1, num_test_per_class=2)
    assert [task[i][1] for i in parts["train"].indices] == [1, 0]
    assert [task[i][1] for i in parts["test"].indices] == [1, 1, 0, 0]
    assert ClassSplitter(task, num_train_per_class=1, num_test_per_class=2)["train"].indices == parts["train"].indices
    task.num_classes = 3
    with pytest.raises(ValueError, match="says that it has 3 classes, its targets have 2"):
        ClassSplitter(task, num_train_per_class=1, num_test_per_class=2)
    regression = ClassSplitter(Sinusoid(10, num_tasks=1)[0], num_train_per_class=4, num_test_per_class=6)
    assert sorted(regression["train"].indices + regression["test"].indices) == list(range(10))


def test_shares() -> None:
    data = WeightedClassSplitter(meta_dataset(), train_weights=0.25, test_weights=0.75)
    parts = data[(0, 1, 2, 3, 4)]
    # 18 examples are left of 20 after one for each split
    assert [len(parts[k]) for k in ("train", "test")] == [5 * (1 + 4), 5 * (1 + 13)]
    assert not set(parts["train"].indices) & set(parts["test"].indices)
    most = {"train": 2, "test": 3}
    parts = WeightedClassSplitter(meta_dataset(), weights={"train": 1, "test": 1}, max_num_samples=most)[
        (0, 1, 2, 3, 4)
    ]
    assert [len(part) for part in parts.values()] == [10, 15]
    task = Labelled([0] * 10 + [1] * 4)
    equal = WeightedClassSplitter(task, support_weights=0.5, query_weights=0.5, force_equal_per_class=True)
    assert [len(part) for part in equal.values()] == [4, 4]
    free = WeightedClassSplitter(task, support_weights=0.5, query_weights=0.5)
    assert [len(part) for part in free.values()] == [7, 7]
    with pytest.raises(ValueError, match="needs the weights"):
        WeightedClassSplitter()
    with pytest.raises(ValueError, match="need at least"):
        WeightedClassSplitter(task, train_weights=1, test_weights=1, min_num_samples=3)


def test_wrap_transform() -> None:
    chain = Compose([FixedCategory("x"), Categorical(3)])
    wrapped = wrap_transform(chain, lambda t: Categorical(7), Categorical)
    assert [type(t) for t in wrapped.transforms] == [FixedCategory, Categorical]
    assert wrapped.transforms[1].num_classes == 7
    assert chain.transforms[1].num_classes == 3
    assert wrap_transform(1, lambda t: t + 1) == 2
    assert Numbers(3).get_target_transform(0) is None
