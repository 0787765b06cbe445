"""ResNet-12 and DropBlock: known sizes, known shares, gradients under every strategy."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import vmap

from metacortex.engine.gradient import meta_gradient
from metacortex.errors import SettingsError
from metacortex.learners.gradient.maml import MAML
from metacortex.nn.classifier import Classifier
from metacortex.nn.resnet12 import DropBlock, ResNet12, ResNet12Settings
from metacortex.task import stack_tasks
from metacortex.testing import blobs, finite_difference_gap


def drop(rate: float, block: int, seed: int = 0, shape: tuple[int, ...] = (64, 8, 12, 12)) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DropBlock(rate, block)(torch.ones(shape))


def test_published_sizes() -> None:
    with torch.device("meta"):
        wide, narrow = ResNet12((3, 84, 84)), ResNet12((3, 84, 84), ResNet12Settings(widths=(64, 128, 256, 512)))
        places = ResNet12((3, 84, 84), ResNet12Settings(average=False))
    assert wide.features == 640
    assert places.features == 640 * 5 * 5
    assert sum(p.numel() for p in wide.parameters()) == 12_424_320
    assert sum(p.numel() for p in narrow.parameters()) == 7_996_800
    assert len([m for m in wide.modules() if isinstance(m, nn.Conv2d)]) == 16
    assert [m.block for m in wide.modules() if isinstance(m, DropBlock)] == [1, 1, 5, 5]


def test_whole_squares_are_dropped_and_the_rest_is_scaled() -> None:
    y = drop(0.1, 3)
    zeros = y == 0
    # Every dropped place lies in a dropped 3 × 3 square.
    squares = -nn.functional.max_pool2d(-zeros.float(), 3, stride=1)
    covered = nn.functional.max_pool2d(nn.functional.pad(squares, (2, 2, 2, 2)), 3, stride=1)
    assert torch.equal(covered.bool(), zeros)
    torch.testing.assert_close(y.mean((1, 2, 3)), torch.ones(64))
    # Squares overlap, so that fewer are dropped than asked for, but not many fewer.
    assert 0.08 < float(zeros.float().mean()) < 0.1


def test_single_activations_are_dropped_at_the_rate() -> None:
    assert float((drop(0.3, 1) == 0).float().mean()) == pytest.approx(0.3, abs=0.01)


def test_a_block_larger_than_the_map_drops_it_whole() -> None:
    y = drop(0.25, 5, shape=(50, 40, 2, 3))
    dead = (y == 0).flatten(2)[..., :]
    assert y.isfinite().all()
    assert torch.equal(dead.any(-1), (dead.sum(-1) >= 4))  # a 2 × 2 square at least


def test_dropping_is_reproducible_and_off_in_evaluation() -> None:
    assert torch.equal(drop(0.2, 3), drop(0.2, 3))
    assert not torch.equal(drop(0.2, 3), drop(0.2, 3, seed=1))
    x = torch.randn(2, 3, 8, 8)
    assert DropBlock(0.5, 3).eval()(x) is x
    each = vmap(DropBlock(0.5, 3), randomness="different")(torch.ones(2, 3, 4, 8, 8))
    assert not torch.equal(each[0], each[1])


def small(drop: float = 0.0) -> Classifier:
    torch.manual_seed(0)
    return Classifier(ResNet12((3, 6, 6), ResNet12Settings(widths=(4, 3), drop=drop, drop_block=2)), 3).double()


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_meta_gradient_is_that_of_finite_differences(strategy: str) -> None:
    net = small()
    nn.init.normal_(net.head.weight, std=0.5)
    learner = MAML(net, 0.05, 2, norm="query-batch")
    tasks = [blobs(torch.Generator().manual_seed(i)) for i in range(2)]
    gradients, _ = meta_gradient(learner, stack_tasks(tasks), strategy=strategy, reduction="sum")
    assert finite_difference_gap(learner, tasks, gradients, step=1e-6) < 1e-6


def test_recomputed_steps_drop_the_same_squares() -> None:
    found = []
    for unroll in ("graph", "steps"):
        learner = MAML(small(0.3), 0.1, 3, unroll=unroll)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            gradients, _ = meta_gradient(learner, stack_tasks([blobs(torch.Generator().manual_seed(0))]))
        found.append(torch.cat([g.flatten() for g in gradients.values()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="vanishes after 4 blocks"):
        ResNet12((3, 8, 8))
    with pytest.raises(SettingsError, match="widths"):
        ResNet12Settings(widths=())
    with pytest.raises(SettingsError, match="drop must be"):
        ResNet12Settings(drop=1.0)
    with pytest.raises(SettingsError, match="drop_block"):
        ResNet12Settings(drop_block=0)
