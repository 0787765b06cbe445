"""Tasks on another device than the CPU, as far as can be told without one."""

from __future__ import annotations

import copy
import pickle

import torch

from metacortex.data.view import ClassView
from metacortex.tasks.batches import SupervisedBatches
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.functions import make_functions
from metacortex.tasks.placed import Placed, place
from metacortex.tasks.warp import Warped
from tests.tasks.conftest import assert_same

META, CPU = torch.device("meta"), torch.device("cpu")


def test_on_the_cpu_a_source_is_left_as_it_is(view: ClassView) -> None:
    source = Episodes(view, EpisodeSpec(3, 1, 2), seed=1, split="train")
    assert place(source, CPU) is source


def test_sources_that_move_with_their_examples(view: ClassView) -> None:
    episodes = Episodes(view, EpisodeSpec(3, 1, (2, 4)), seed=1, split="train")
    for source in (episodes, Warped(episodes, 1.0), SupervisedBatches(view, 8, 0, "train")):
        moved = source.to(CPU)
        assert_same(moved.batch([0, 3]), source.batch([0, 3]))
        assert_same(moved.task(2), source.task(2))
        assert (moved.protocol, moved.fingerprint(5)) == (source.protocol, source.fingerprint(5))
    assert episodes._reader._there is None


def test_any_other_source_is_copied_as_it_is_drawn() -> None:
    source = make_functions("sinusoid", shot=5, queries=5, seed=0, split="train")
    there = place(source, META)
    assert isinstance(there, Placed)
    task = there.batch([0, 1])
    assert {x.device.type for x in (task.support.inputs, task.query.targets)} == {"meta"}
    assert task.info == source.batch([0, 1]).info
    assert there.task(1).support.inputs.is_meta
    assert (there.protocol, there.fingerprint(3)) == (source.protocol, source.fingerprint(3))
    assert there.seed == source.seed
    here = pickle.loads(pickle.dumps(copy.copy(Placed(source, CPU))))
    assert torch.equal(here.task(1).support.inputs, source.task(1).support.inputs)
