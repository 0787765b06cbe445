"""Data sets of classes and of tasks, samplers and loaders: who draws what, from which seed, in which order."""

from __future__ import annotations

import pickle
import random
import sys
from typing import Any

import pytest
import torch
from number_classes import Number, Numbers, meta_dataset
from torch.utils.data import Subset

from torchmeta.transforms import Categorical, ClassSplitter, HorizontalFlip, Rotation
from torchmeta.utils.data import (
    BatchMetaDataLoader,
    ClassDataset,
    CombinationMetaDataset,
    CombinationRandomSampler,
    CombinationSequentialSampler,
    ConcatTask,
    Dataset,
    MetaDataLoader,
    MetaDataset,
    NonEpisodicWrapper,
    SubsetTask,
    Task,
)
from torchmeta.utils.data.dataloader import UnsplitBatch
from torchmeta.utils.wrappers import NonEpisodicWrapper as SameWrapper

CLASSES = (0, 1, 2, 3, 4)


def split(count: int = 4112, **options: Any) -> CombinationMetaDataset:
    return ClassSplitter(meta_dataset(count, **options), num_train_per_class=1, num_test_per_class=15)


def test_one_split_is_chosen() -> None:
    assert Numbers(3, meta_train=False, meta_split="val").meta_val
    with pytest.raises(ValueError, match="several splits were chosen"):
        Numbers(3, meta_train=True, meta_test=True)
    with pytest.raises(ValueError, match="no split was chosen"):
        Numbers(3, meta_train=False)
    with pytest.raises(ValueError, match="must be one of train, val, test"):
        Numbers(3, meta_train=False, meta_split="dev")


def test_class_augmentations() -> None:
    data = Numbers(10, class_augmentations=[Rotation([90, 180]), HorizontalFlip()])
    assert len(data) == 40
    assert data.num_classes == 10
    assert data.get_class_augmentation(9) is None
    assert data.get_class_augmentation(10) == Rotation(90)
    assert data.get_class_augmentation(39) == HorizontalFlip()
    assert data.get_transform(3) is None
    double = data.get_transform(25, lambda x: x * 2)
    assert torch.equal(double(torch.eye(2)), torch.rot90(torch.eye(2), 2) * 2)
    assert data.get_target_transform(12)("a") == ("a", Rotation(90))
    with pytest.warns(UserWarning, match="comes twice"):
        assert len(Numbers(10, class_augmentations=[Rotation(90), Rotation(450)])) == 20
    with pytest.raises(TypeError, match="must be a list"):
        Numbers(10, class_augmentations=Rotation(90))


def test_default_targets() -> None:
    data = CombinationMetaDataset(Numbers(3, class_augmentations=[HorizontalFlip()]), 2)
    task = data[(1, 5)]
    assert [task[0][1], task[20][1]] == [("class 1", 0), ("class 5", 1)]


def test_concatenated_tasks() -> None:
    data = meta_dataset()
    task = data[(7, 3, 5, 1, 0)]
    assert isinstance(task, ConcatTask)
    assert task.index == (7, 3, 5, 1, 0)
    assert hash(task) == hash((7, 3, 5, 1, 0))
    assert [d.index for d in task.datasets] == [7, 3, 5, 1, 0]
    assert (len(task), task.num_classes) == (100, 5)
    assert task[21][0].tolist() == [3, 1]
    assert sorted({task[i][1] for i in range(100)}) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="tuple of its 5 classes"):
        data[3]
    with pytest.raises(ValueError, match="has 5 classes, got 2"):
        data[(1, 2)]


def test_tasks_leave_the_data_sets_of_users_alone() -> None:
    own = [Number(i) for i in range(3)]
    for _ in range(2):
        task = ConcatTask(own, 3, target_transform=Categorical(3))
        assert sorted(task[i][1] for i in (0, 20, 40)) == [0, 1, 2]
    assert all(n.target_transform is None for n in own)


def test_subset_tasks() -> None:
    task = meta_dataset()[CLASSES]
    part = SubsetTask(task, [3, 25])
    assert isinstance(part, Subset)
    assert (part.num_classes, len(part), part.index) == (5, 2, CLASSES)
    assert part[1][0].tolist() == [1, 5]
    assert part.__getitems__([1])[0][0].tolist() == [1, 5]
    relabelled = SubsetTask(task, [3, 25], num_classes=2, target_transform=lambda t: t + 10)
    assert relabelled.num_classes == 2
    assert relabelled[0][1] == part[0][1] + 10
    data = Dataset(4, target_transform=lambda t: t + 1)
    data.target_transform_append(None)
    data.target_transform_append(lambda t: t * 2)
    assert data.target_transform(1) == 4
    assert hash(data) == hash(4)
    assert Task(1, None).num_classes is None


def test_length_never_raises() -> None:
    assert len(meta_dataset(10, 3)) == 120
    with pytest.warns(UserWarning, match="combinations of 20 classes"):
        assert len(meta_dataset(4112, 20)) == sys.maxsize
    with pytest.raises(ValueError, match="from 1 to 10, the classes of split 'train'"):
        meta_dataset(10, 11)
    with pytest.raises(ValueError, match="got None"):
        meta_dataset(10, None)  # type: ignore[arg-type]


def test_sampling_tasks_and_iterating() -> None:
    data = meta_dataset(6, 2)
    assert len(list(data)) == 15
    data.seed(3)
    first = [data.sample_task().index for _ in range(5)]
    data.seed(3)
    assert [data.sample_task().index for _ in range(5)] == first
    assert len(set(first)) > 1


class Squares(MetaDataset):
    """A user's own tasks."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Any:
        return index * index


def test_subclasses_of_meta_dataset() -> None:
    data = Squares()
    assert data.meta_split is None
    assert list(data) == [0, 1, 4, 9, 16, 25, 36]
    data.seed(0)
    assert data.sample_task() in list(data)
    assert sorted(t for batch in MetaDataLoader(data, batch_size=3) for t in batch) == list(data)
    with pytest.raises(ValueError, match="several splits"):
        MetaDataset(meta_train=True, meta_val=True)


def test_samplers() -> None:
    data = meta_dataset(5, 2)
    sequential = CombinationSequentialSampler(data)
    assert list(sequential)[:3] == [(0, 1), (0, 2), (0, 3)]
    assert len(list(sequential)) == len(sequential) == 10
    random.seed(0)
    expected = [tuple(random.sample(range(5), 2)) for _ in range(10)]
    random.seed(0)
    assert list(CombinationRandomSampler(data)) == expected
    assert len(CombinationRandomSampler(data, num_tasks=3)) == 3
    for kind in (CombinationSequentialSampler, CombinationRandomSampler):
        with pytest.raises(TypeError, match="expected a CombinationMetaDataset"):
            kind(Squares())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_tasks must be at least 1"):
        CombinationRandomSampler(data, num_tasks=0)


def test_first_batch_is_that_of_torchmeta() -> None:
    random.seed(0)
    torch.manual_seed(0)
    batch = next(iter(BatchMetaDataLoader(split(), batch_size=2)))
    assert list(batch) == ["train", "test"]
    inputs, targets = batch["train"]
    assert inputs[0, :, 0].tolist() == [3155, 3445, 331, 2121, 3980]
    assert targets.tolist() == [[3, 1, 0, 4, 2], [2, 4, 3, 1, 0]]
    assert batch["test"][1][0].tolist() == [label for label in [3, 1, 0, 4, 2] for _ in range(15)]
    assert batch["test"][0].shape == (2, 75, 2)
    for task in zip(*batch["train"], *batch["test"], strict=True):  # an idiom of many programs
        assert [t.shape for t in task] == [(5, 2), (5,), (75, 2), (75,)]


def test_both_global_seeds_are_needed() -> None:
    def first(python: int, torch_seed: int) -> tuple[Any, Any]:
        random.seed(python)
        torch.manual_seed(torch_seed)
        inputs, targets = next(iter(BatchMetaDataLoader(split(), batch_size=1)))["train"]
        return inputs[0, :, 0].tolist(), targets[0].tolist()

    assert first(1, 2) == first(1, 2)
    assert first(1, 2)[0] != first(3, 2)[0]
    assert first(1, 2)[1] != first(1, 5)[1]


def test_tasks_that_are_not_split() -> None:
    batch = next(iter(BatchMetaDataLoader(meta_dataset(), batch_size=3)))
    assert isinstance(batch, UnsplitBatch)
    inputs, targets = batch
    assert (inputs.shape, targets.shape) == ((3, 100, 2), (3, 100))
    with pytest.raises(ValueError, match=r"no 'train'.*ClassSplitter\(dataset"):
        batch["train"]
    assert len(pickle.loads(pickle.dumps(batch))) == 2


def test_lists_of_tasks() -> None:
    (batch,) = list(MetaDataLoader(meta_dataset(5, 2), batch_size=4, num_tasks=4))
    assert [type(task) for task in batch] == [ConcatTask] * 4
    ordered = list(MetaDataLoader(meta_dataset(4, 2), batch_size=4, shuffle=False, drop_last=True))
    assert [[task.index for task in batch] for batch in ordered] == [[(0, 1), (0, 2), (0, 3), (1, 2)]]
    chosen = Subset(meta_dataset(5, 2), [(0, 1), (3, 2)])
    assert [t.index for b in MetaDataLoader(chosen, shuffle=False) for t in b] == [(0, 1), (3, 2)]
    loader = BatchMetaDataLoader(split(), batch_size=16)
    assert len(loader) > 10**13
    assert len(BatchMetaDataLoader(split(), batch_size=4, num_tasks=10)) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_native_seed(workers: int) -> None:
    """Everything follows from it, for any number of workers, and the global states are left alone."""

    def batches(seed: int, used: int) -> list[Any]:
        return list(BatchMetaDataLoader(split(), batch_size=2, seed=seed, num_tasks=6, num_workers=used))

    random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state()
    first = batches(4, workers)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    random.seed(2)
    torch.manual_seed(2)
    again, other = batches(4, 0), batches(5, 0)
    for one, same in zip(first, again, strict=True):
        for name in ("train", "test"):
            assert all(torch.equal(a, b) for a, b in zip(one[name], same[name], strict=True))
    assert not torch.equal(first[0]["train"][0], other[0]["train"][0])


def test_native_epochs_go_on_and_members_are_drawn_anew() -> None:
    loader = BatchMetaDataLoader(split(6, ways=5), batch_size=1, seed=0, num_tasks=40)
    first, second = list(loader), list(loader)
    assert not torch.equal(first[0]["test"][0], second[0]["test"][0])
    # of few classes: the same ones come again, with other members (the global way gives the same ones always)
    by_classes: dict[tuple, set] = {}
    for batch in first + second:
        examples = batch["train"][0][0]
        by_classes.setdefault(tuple(sorted(examples[:, 0].tolist())), set()).add(str(sorted(examples.tolist())))
    assert max(map(len, by_classes.values())) > 1
    assert {tuple(sorted(b["train"][1][0].tolist())) for b in first} == {(0, 1, 2, 3, 4)}
    assert len({tuple(b["train"][1][0].tolist()) for b in first}) > 10
    with pytest.raises(ValueError, match="either a seed or a sampler"):
        BatchMetaDataLoader(split(), sampler=CombinationRandomSampler(split()), seed=0)


def test_used_data_sets_travel_to_spawned_processes() -> None:
    data = split()
    data[CLASSES]["train"][0]
    copy = pickle.loads(pickle.dumps(data))
    assert copy[CLASSES]["train"].indices == data[CLASSES]["train"].indices


def test_supervised_view() -> None:
    data = meta_dataset(3, 2)
    flat = NonEpisodicWrapper(data)
    assert SameWrapper is NonEpisodicWrapper
    assert (len(flat), flat.num_classes, flat.num_samples) == (60, 3, 60)
    assert torch.equal(flat[20][0], flat[-40][0])
    example, target = flat[20]  # the first example of the second class
    assert (example.tolist(), target) == ([1.0, 0.0], ("class 1", 0))
    assert [flat[i][1][0] for i in (19, 39, 40, 59)] == ["class 0", "class 1", "class 2", "class 2"]
    turned = CombinationMetaDataset(Numbers(2, class_augmentations=[lambda x: -x]), 2)
    example, target = NonEpisodicWrapper(turned, target_transform=lambda pair: pair[1])[45]
    assert (example.tolist(), target) == ([-2.0, -5.0], 1)
    with pytest.raises(IndexError):
        flat[60]
    with pytest.raises(ValueError, match="expected a CombinationMetaDataset"):
        NonEpisodicWrapper(Squares())  # type: ignore[arg-type]


def test_abstract_parts_say_so() -> None:
    for call in (
        lambda: ClassDataset(meta_train=True).num_classes,
        lambda: ClassDataset(meta_train=True)[0],
        lambda: MetaDataset()[0],
        lambda: len(Dataset(0)),
    ):
        with pytest.raises(NotImplementedError):
            call()
