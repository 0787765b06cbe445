from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, SettingsError
from metacortex.task import Task, stack_tasks
from metacortex.tasks.batches import SupervisedBatches
from metacortex.tasks.source import TaskSource

PIN_BATCHES = "9b5b6a3420b600fb885ea1afe234a42dffe05ea53935870d1c62aa0c0c9eb612"
TOTAL = 56


@pytest.fixture(scope="module")
def turned(store_of: Callable[[list[int]], ClassStore]) -> ClassView:
    """Sixteen classes, 56 examples."""
    return ClassView.of(store_of([3, 5, 2, 4])).with_rotations()


def marks(source: SupervisedBatches, index: int) -> list[tuple[int, bytes]]:
    """What identifies each example of a batch: its target and its pixels."""
    query = source.task(index).query
    return [(int(t), x.numpy().tobytes()) for t, x in zip(query.targets, query.inputs, strict=True)]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 150), st.integers(0, 10**6))
def test_every_epoch_shows_every_example_once(turned: ClassView, size: int, seed: int) -> None:
    source = SupervisedBatches(turned, size, seed, "train", dtype=torch.uint8)
    shown = [mark for i in range(3 * TOTAL // size + 1) for mark in marks(source, i)]
    epochs = [shown[e * TOTAL : (e + 1) * TOTAL] for e in range(3)]
    assert all(len(set(epoch)) == TOTAL for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_shapes_targets_and_pixels(turned: ClassView) -> None:
    task = SupervisedBatches(turned, 10, 0, "train").task(3)
    assert task.support.inputs.shape == (0, 1, 4, 4)
    assert task.support.inputs.dtype == torch.float32
    assert task.support.targets.shape == (0,)
    assert task.query.inputs.shape == (10, 1, 4, 4)
    for part in (task.support, task.query):
        assert part.targets.dtype == torch.int64
        assert part.classes is not None
        assert part.classes.tolist() == [True] * 16
    for image, target in zip(task.query.inputs, task.query.targets.tolist(), strict=True):
        quarter = int(turned.rotation[target])
        upright = (np.rot90(image.numpy(), -quarter, axes=(1, 2)) * 255).round()
        assert upright[0, 0, 0] == turned.index[target]  # the first pixel of the fixture's images is their class
        assert 0 <= upright[0, 0, 1] < turned.counts()[target]


def test_batches_do_not_depend_on_what_was_drawn_before(turned: ClassView, same: Callable[[Task, Task], None]) -> None:
    source = SupervisedBatches(turned, 13, 4, "train")
    backwards = [source.task(i) for i in (40, 9, 3, 0)]
    for i, task in zip((40, 9, 3, 0), backwards, strict=True):
        same(SupervisedBatches(turned, 13, 4, "train").task(i), task)
    same(pickle.loads(pickle.dumps(source)).task(9), backwards[1])
    same(source.batch([40, 9]), stack_tasks(backwards[:2]))


def test_fingerprint_depends_on_seed_split_and_size(turned: ClassView) -> None:
    options = [(13, 0, "train"), (13, 1, "train"), (13, 0, "val"), (14, 0, "train")]
    prints = [SupervisedBatches(turned, *o).fingerprint(20) for o in options]
    assert len(set(prints)) == 4
    assert prints[0] == PIN_BATCHES


def test_source(turned: ClassView) -> None:
    source = SupervisedBatches(turned, 8, 0, "train")
    assert isinstance(source, TaskSource)
    assert source.protocol == "batches of 8 from 16 classes, split train"


def test_errors(turned: ClassView) -> None:
    with pytest.raises(SettingsError, match="batch_size: expected a positive int, got 0"):
        SupervisedBatches(turned, 0, 0, "train")
    with pytest.raises(DataError, match="batch indices count from 0, got -1"):
        SupervisedBatches(turned, 8, 0, "train").task(-1)
    nothing = ClassView(turned.store, np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="split 'val' of 'tiny' has no examples"):
        SupervisedBatches(nothing, 8, 0, "val")
