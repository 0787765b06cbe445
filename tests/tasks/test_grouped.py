"""Given tasks: one for each group, support first; nothing is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError
from metacortex.task import Task, stack_tasks
from metacortex.tasks.grouped import GroupTasks
from metacortex.tasks.source import TaskSource


@pytest.fixture(scope="module")
def view() -> ClassView:
    """Two runs of three classes of two images; the first pixel of each says which it is."""
    images = np.zeros((12, 1, 4, 4), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(12)
    metas = [{"run": f"run{c // 3}"} for c in range(6)]
    store = ClassStore.from_arrays(images, np.repeat(np.arange(6), 2), [f"class{c}" for c in range(6)], meta=metas)
    return ClassView.of(store, group_by="run")


def test_each_group_is_a_task(view: ClassView, same: Callable[[Task, Task], None]) -> None:
    tasks = GroupTasks(view)
    assert isinstance(tasks, TaskSource)
    assert tasks.protocol == "the 2 given tasks, 3-way 1-shot 1 queries"
    second = tasks.task(1)
    assert (255 * second.support.inputs[:, 0, 0, 0]).round().tolist() == [6, 8, 10]
    assert (255 * second.query.inputs[:, 0, 0, 0]).round().tolist() == [7, 9, 11]
    assert second.query.targets.tolist() == [0, 1, 2]
    assert second.info == {"index": 1, "classes": ["class3", "class4", "class5"]}
    same(tasks.batch([1, 0]), stack_tasks([tasks.task(1), tasks.task(0)]))
    assert tasks.fingerprint(2) == GroupTasks(view).fingerprint(2)


def test_what_gives_no_tasks_is_refused(view: ClassView, store_of: Callable[[list[int]], ClassStore]) -> None:
    with pytest.raises(DataError, match="tasks 0 to 1, got 2"):
        GroupTasks(view).task(2)
    with pytest.raises(DataError, match="one of examples above 2"):
        GroupTasks(view, shot=2)
    with pytest.raises(DataError, match="no groups"):
        GroupTasks(ClassView.of(view.store))
    with pytest.raises(DataError, match=r"have \[3, 4\] classes"):
        GroupTasks(ClassView.of(store_of([2] * 10), group_by="alphabet"))
    assert torch.equal(GroupTasks(view).task(0).support.targets, torch.arange(3))
