"""Redrawn tasks: the same for any batch, every image in a hand of its own, strokes thinner and thicker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import SettingsError
from metacortex.task import stack_tasks
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.redrawn import Redrawn, redraw
from metacortex.tasks.warp import Warped
from metacortex.tree import tree_leaves

NUMBERS = 7 + 6 * 3


@pytest.fixture(scope="module")
def source() -> Episodes:
    """A bar of 12 pixels at the same place in all images, so that only the redrawing makes a difference."""
    images = np.zeros((60, 1, 28, 28), dtype=np.uint8)
    images[:, 0, 12:16, 8:20] = 255
    view = ClassView.of(ClassStore.from_arrays(images, np.repeat(np.arange(6), 10), name="bars"))
    return Episodes(view, EpisodeSpec(4, (1, 3), 3), seed=1, split="train")


def equal(a: object, b: object) -> bool:
    first, second = tree_leaves(a), tree_leaves(b)
    return len(first) == len(second) and all(x.equal(y) for x, y in zip(first, second, strict=True))


def test_tasks_are_the_same_for_any_batch(source: Episodes) -> None:
    redrawn = Redrawn(Warped(source, 0.5), 1.0)
    batch = redrawn.batch([5, 2, 9])
    assert equal(batch.without_info(), stack_tasks([redrawn.task(i) for i in (5, 2, 9)]).without_info())
    assert batch.info == source.batch([5, 2, 9]).info


def test_tasks_elsewhere_are_the_same(source: Episodes) -> None:
    class Moving(Warped):
        """A source that says where it was moved."""

        def to(self, device: torch.device) -> Moving:
            places.append(device)
            return self

    places: list[torch.device] = []
    redrawn = Redrawn(Moving(source, 0.5), 1.0)
    moved = redrawn.to(torch.device("meta"))
    assert places == [torch.device("meta")]
    assert equal(moved.task(4).without_info(), redrawn.task(4).without_info())


def test_every_image_has_a_hand_of_its_own(source: Episodes) -> None:
    task = Redrawn(source, 1.0).task(3)
    images = torch.cat([task.support.inputs, task.query.inputs]).flatten(1)
    gaps = torch.cdist(images, images) + torch.eye(len(images)) * 99
    assert gaps.min() > 0.5
    assert images.min() >= 0
    assert images.max() <= 1 + 1e-6


def test_no_amount_changes_nothing_and_another_is_another_protocol(source: Episodes) -> None:
    still = Redrawn(source, 0.0)
    torch.testing.assert_close(still.task(3).query.inputs, source.task(3).query.inputs, atol=1e-5, rtol=0)
    assert Redrawn(source, 1.0).fingerprint(5) != Redrawn(source, 0.5).fingerprint(5) != still.fingerprint(5)
    assert Redrawn(source, 0.5).protocol == f"{source.protocol}, redrawn by 0.5"
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="redraw"):
            Redrawn(source, wrong)


@pytest.mark.parametrize("side", [28, 56])
def test_the_pen_alone_makes_strokes_thicker_and_thinner(side: int) -> None:
    image = torch.zeros(1, 1, side, side)
    image[..., side // 4 : 3 * side // 4, side // 2 : side // 2 + side // 7] = 1.0  # four 28ths wide
    ink = {}
    for pen in (-1.0, 0.0, 1.0):
        numbers = torch.zeros(1, NUMBERS, dtype=torch.float64)
        numbers[0, 0] = pen
        row = redraw(image, numbers, 1.0)[0, 0, side // 2]
        ink[pen] = float(row.sum()) * 28 / side
    assert ink == pytest.approx({-1.0: 3.0, 0.0: 4.0, 1.0: 5.0}, abs=1e-4)


def test_a_wave_bends_a_line(source: Episodes) -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 13:15, :] = 1.0
    numbers = torch.zeros(1, NUMBERS, dtype=torch.float64)
    numbers[0, 7] = 1.0  # one half cycle from the middle to the edge, along x
    numbers[0, 7 + 5] = 1.0  # shifts along y
    bent = redraw(image, numbers, 2.0)[0, 0]
    height = (bent * torch.arange(28.0)[:, None]).sum(0) / bent.sum(0)
    places = (torch.arange(28.0) + 0.5) / 14 - 1
    torch.testing.assert_close(height, 13.5 - 14 * 2 * 0.05 * torch.sin(torch.pi * places), atol=1e-3, rtol=0)
