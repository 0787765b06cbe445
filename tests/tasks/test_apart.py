"""Draws whose support and query share no source."""

from __future__ import annotations

import numpy as np
import pytest

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError
from metacortex.task import stack_tasks
from metacortex.tasks.apart import Sources
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tree import tree_leaves

TRACKS = 5


def view_of(tracks: list[str]) -> ClassView:
    """Classes of examples whose first pixel is their number, with these sources."""
    counts = [len(text.split()) for text in tracks]
    images = np.zeros((sum(counts), 1, 2, 2), dtype=np.uint8)
    metas = [{"tracks": text} for text in tracks]
    labels = np.repeat(np.arange(len(counts)), counts)
    return ClassView.of(ClassStore.from_arrays(images, labels, [f"class{c}" for c in range(len(counts))], meta=metas))


@pytest.fixture(scope="module")
def view() -> ClassView:
    """Five tracks of four frames, in turns, for each of six classes."""
    return view_of([" ".join(f"t{i % TRACKS}" for i in range(20))] * 6)


@pytest.mark.parametrize(("shot", "tracks"), [(1, 1), (2, 2), (5, 2), (8, 2)])
def test_support_and_query_share_no_track(view: ClassView, shot: int, tracks: int) -> None:
    tasks = Episodes(view, EpisodeSpec(3, shot, 12), seed=0, split="test", apart="tracks")
    met = set()
    for number in range(30):
        for members in tasks.task(number).info["members"]:
            assert len(set(members)) == shot + 12
            support, query = ({m % TRACKS for m in part} for part in (members[:shot], members[shot:]))
            assert support.isdisjoint(query)
            assert (len(support), len(query)) == (tracks, TRACKS - tracks)
            met |= {frozenset(support)}
    assert len(met) == {1: 5, 2: 10}[tracks]  # every choice of tracks
    assert tasks.protocol == f"3-way {shot}-shot 12 queries, split test, queries of other tracks"


def test_tasks_are_the_same_for_any_batch(view: ClassView) -> None:
    tasks = Episodes(view, EpisodeSpec((2, 3), (1, 2), (3, 5)), seed=4, split="test", apart="tracks")
    batch, single = tasks.batch([7, 1]), stack_tasks([tasks.task(7), tasks.task(1)])
    assert batch.info == single.info
    pairs = zip(tree_leaves(batch.without_info()), tree_leaves(single.without_info()), strict=True)
    assert all(a.equal(b) for a, b in pairs)
    assert tasks.fingerprint(9) != Episodes(view, tasks.spec, seed=4, split="test").fingerprint(9)


def test_too_few_sources_or_examples_are_refused(view: ClassView) -> None:
    with pytest.raises(DataError, match=r"'class1' .* has 3 examples and names 1 tracks"):
        Sources(view_of(["a b", "a a a"]), "tracks")
    with pytest.raises(DataError, match="names 0 tracks for 0 of them"):
        Sources(ClassView.of(ClassStore.from_arrays(np.zeros((4, 1, 2, 2), np.uint8), [0, 0, 1, 1])), "tracks")
    with pytest.raises(DataError, match="20 examples of 5 tracks: they cannot be divided into 9 shots and 11 queries"):
        Episodes(view, EpisodeSpec(2, 9, 11), seed=0, split="test", apart="tracks").task(0)
