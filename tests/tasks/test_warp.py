"""Warped tasks: the same for any batch, only bent, and a class bent as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import SettingsError
from metacortex.task import stack_tasks
from metacortex.tasks.batches import SupervisedBatches
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.warp import Warped, _bend
from metacortex.tree import tree_leaves


@pytest.fixture(scope="module")
def view() -> ClassView:
    """A bar of 12 pixels at the same place in all images, so that only the warp makes a difference."""
    images = np.zeros((60, 1, 28, 28), dtype=np.uint8)
    images[:, 0, 12:16, 8:20] = 255
    return ClassView.of(ClassStore.from_arrays(images, np.repeat(np.arange(6), 10), name="bars"), list(range(6)))


def episodes(view: ClassView, **spec: object) -> Episodes:
    return Episodes(view, EpisodeSpec(**{"way": 4, "shot": 2, "queries": 3, **spec}), seed=1, split="train")  # type: ignore[arg-type]


def equal(a: object, b: object) -> bool:
    first, second = tree_leaves(a), tree_leaves(b)
    return len(first) == len(second) and all(x.equal(y) for x, y in zip(first, second, strict=True))


def test_tasks_are_the_same_for_any_batch(view: ClassView) -> None:
    source = Warped(episodes(view, shot=(1, 3)), 1.0)
    batch = source.batch([5, 2, 9])
    assert equal(batch.without_info(), stack_tasks([source.task(i) for i in (5, 2, 9)]).without_info())
    assert equal(batch.without_info(), Warped(episodes(view, shot=(1, 3)), 1.0).batch([5, 2, 9]).without_info())
    assert not equal(source.task(5).query.inputs, source.task(6).query.inputs)


def test_no_amount_changes_nothing_and_another_is_another_protocol(view: ClassView) -> None:
    source = episodes(view)
    still = Warped(source, 0.0)
    torch.testing.assert_close(still.task(3).support.inputs, source.task(3).support.inputs, atol=1e-6, rtol=0)
    assert Warped(source, 1.0).fingerprint(5) != Warped(source, 0.5).fingerprint(5) != still.fingerprint(5)
    assert Warped(source, 0.5).protocol.endswith("split train, warped by 0.5")
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="warp"):
            Warped(source, wrong)


def test_examples_of_a_class_are_bent_alike(view: ClassView) -> None:
    source = Warped(episodes(view, way=6, shot=4, queries=6), 1.0)
    within, between = [], []
    for i in range(20):
        support = source.task(i).support
        images = support.inputs.flatten(1)
        gaps = torch.cdist(images, images)
        same = support.targets[:, None] == support.targets[None, :]
        within.append(gaps[same & ~torch.eye(len(images), dtype=torch.bool)].mean())
        between.append(gaps[~same].mean())
    gap = torch.stack(between) - torch.stack(within)
    assert gap.mean() > 3 * gap.std() / len(gap) ** 0.5


def test_known_bends() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    image[..., 12:16, 4:24] = 1.0
    nothing = torch.zeros(1, 6, dtype=torch.float64)
    quarter = nothing.clone()
    quarter[0, 0] = torch.pi / 2
    torch.testing.assert_close(_bend(image, nothing), image, atol=1e-9, rtol=0)
    torch.testing.assert_close(_bend(image, quarter), image.transpose(2, 3), atol=1e-9, rtol=0)
    moved = nothing.clone()
    moved[0, 4:] = torch.tensor([2 / 28, -4 / 28], dtype=torch.float64)  # looks one pixel to the right and two up
    torch.testing.assert_close(_bend(image, moved), image.roll((2, -1), (2, 3)), atol=1e-9, rtol=0)
    wide = nothing.clone()
    wide[0, 2] = float(np.log(2))
    assert float(_bend(image, wide).sum()) == pytest.approx(float(image.sum()) / 2)


def test_plain_batches_are_warped_too(view: ClassView) -> None:
    source = SupervisedBatches(view, 8, seed=0, split="train")
    warped = Warped(source, 1.0)
    assert warped.task(1).support.inputs.shape == (0, 1, 28, 28)
    assert warped.task(1).query.targets.equal(source.task(1).query.targets)
    assert not warped.task(1).query.inputs.equal(source.task(1).query.inputs)
