"""Tasks, their masks, and stacking."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.errors import DataError
from metacortex.task import Examples, Task, stack_tasks, unstack_tasks
from metacortex.testing import blobs


def task(way: int = 3, shot: int = 2, queries: int = 2, seed: int = 0) -> Task:
    return blobs(torch.Generator().manual_seed(seed), way=way, shot=shot, queries=queries, shape=(4,))


def test_equal_tasks_stack_without_masks() -> None:
    batch = stack_tasks([task(seed=i) for i in range(3)])
    assert batch.support.inputs.shape == (3, 6, 4)
    assert batch.support.mask is None
    assert batch.query.mask is None
    assert batch.query.classes.shape == (3, 3)


sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=20, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=4))
def test_stacking_loses_nothing(shapes: list[tuple[int, int, int]]) -> None:
    tasks = [task(*shape, seed=i) for i, shape in enumerate(shapes)]
    for single, got in zip(tasks, unstack_tasks(stack_tasks(tasks)), strict=True):
        for before, after in ((single.support, got.support), (single.query, got.query)):
            rows = torch.arange(len(before.targets)) if after.mask is None else after.mask.nonzero()[:, 0]
            assert torch.equal(after.inputs[rows], before.inputs)
            assert torch.equal(after.targets[rows], before.targets)
            assert int(after.classes.sum()) == before.way
            assert bool(after.classes[: before.way].all())


def test_token_ids_are_padded_along_every_axis() -> None:
    def pairs(rows: int, length: int) -> Examples:
        inputs = {"source": torch.ones(rows, length, dtype=torch.int64), "image": torch.ones(rows, 2)}
        return Examples(inputs, torch.ones(rows, length + 1, dtype=torch.int64))

    tasks = [
        Task(pairs(rows, length), pairs(1, length), torch.ones(length, dtype=torch.int64))
        for rows, length in ((2, 3), (0, 1))
    ]
    batch = stack_tasks(tasks)
    assert batch.support.inputs["source"].tolist() == [[[1, 1, 1]] * 2, [[0, 0, 0]] * 2]
    assert batch.support.mask is not None
    assert batch.support.mask.tolist() == [[True, True], [False, False]]
    assert batch.query.targets.tolist() == [[[1, 1, 1, 1]], [[1, 1, 0, 0]]]
    assert batch.description.tolist() == [[1, 1, 1], [1, 0, 0]]
    slots = torch.tensor([0, 1])
    pictures = [Task.classification(torch.ones(2, 1, n), slots, torch.ones(2, 1, n), slots) for n in (3, 2)]
    with pytest.raises(RuntimeError, match="equal size"):
        stack_tasks(pictures)


def test_weights_sum_to_one_over_real_rows() -> None:
    x, y = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(Examples(x, y).weights(), torch.full((4,), 0.25, dtype=torch.float64))
    masked = Examples(x, y, mask=torch.tensor([True, True, False, False])).weights()
    assert masked.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert Examples(x, y, mask=torch.zeros(4, dtype=torch.bool)).weights().tolist() == [0.0] * 4


def test_infos_travel_beside_the_tensors() -> None:
    x, y = torch.rand(2, 2), torch.tensor([0, 1])
    tasks = [Task.classification(x, y, x, y, info={"index": i}) for i in range(2)]
    batch = stack_tasks(tasks)
    assert batch.info == [{"index": 0}, {"index": 1}]
    assert [t.info for t in unstack_tasks(batch)] == batch.info
    assert batch.without_info().info is None


def test_descriptions_stack() -> None:
    tasks = [Task(task().support, task().query, {"words": torch.tensor([i])}) for i in range(2)]
    assert stack_tasks(tasks).description["words"].tolist() == [[0], [1]]


def test_moving_keeps_integers() -> None:
    moved = task().to(torch.float32)
    assert moved.support.inputs.dtype == torch.float32
    assert moved.support.targets.dtype == torch.int64
    assert moved.to("meta").query.inputs.device.type == "meta"


def test_tasks_can_be_pickled() -> None:
    copied = pickle.loads(pickle.dumps(task()))
    assert torch.equal(copied.support.inputs, task().support.inputs)


@pytest.mark.parametrize(
    ("targets", "way", "message"),
    [
        ([0, 1, 2], None, "expected as many targets as inputs, got 3 and 2"),
        ([0, 2], 2, r"targets must lie in 0..1 for a 2-way task, got 0..2"),
        ([-1, 1], 2, "got -1..1"),
    ],
)
def test_wrong_targets_are_refused(targets: list[int], way: int | None, message: str) -> None:
    x = torch.rand(2, 3)
    with pytest.raises(DataError, match=message):
        Task.classification(x, torch.tensor(targets), x, torch.tensor([0, 1]), way=way)


def test_no_tasks_and_no_classes() -> None:
    with pytest.raises(DataError, match="cannot stack zero tasks"):
        stack_tasks([])
    with pytest.raises(DataError, match="carry no classes"):
        _ = Examples(torch.rand(2, 1), torch.rand(2, 1)).way
