from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.task import Task


def make_store(counts: list[int], size: int = 4) -> ClassStore:
    """A store whose example ``m`` of class ``c`` begins with the bytes ``c, m``; the rest is noise."""
    labels = np.repeat(np.arange(len(counts)), counts)
    examples = np.random.default_rng(0).integers(0, 256, (len(labels), 1, size, size), dtype=np.uint8)
    examples[:, 0, 0, 0] = labels
    examples[:, 0, 0, 1] = np.concatenate([np.arange(c) for c in counts])
    metas = [{"alphabet": f"alphabet{c % 3}"} for c in range(len(counts))]
    names = [f"alphabet{c % 3}/character{c:02d}" for c in range(len(counts))]
    return ClassStore.from_arrays(examples, labels, names, name="tiny", meta=metas)


def make_views() -> tuple[ClassView, ClassView]:
    """Twenty classes of 12 to 16 examples in three groups of 7, 7 and 6: upright, and in four rotations."""
    upright = ClassView.of(make_store([12 + c % 5 for c in range(20)]), group_by="alphabet")
    return upright, upright.with_rotations()


def assert_same(a: Task, b: Task) -> None:
    """Every tensor of two tasks is equal bit for bit, in dtype and shape too, and so are their infos."""
    for part in ("support", "query"):
        for field in ("inputs", "targets", "mask", "classes"):
            x, y = getattr(getattr(a, part), field), getattr(getattr(b, part), field)
            assert (x is None) == (y is None), (part, field)
            if x is not None:
                assert x.dtype == y.dtype, (part, field)
                assert torch.equal(x, y), (part, field)
    assert a.info == b.info


@pytest.fixture(scope="session")
def upright() -> ClassView:
    return make_views()[0]


@pytest.fixture(scope="session")
def view() -> ClassView:
    return make_views()[1]


@pytest.fixture(scope="session")
def store_of() -> Callable[[list[int]], ClassStore]:
    return make_store


@pytest.fixture(scope="session")
def same() -> Callable[[Task, Task], None]:
    return assert_same
