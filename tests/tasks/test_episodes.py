from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, SettingsError
from metacortex.task import Task, stack_tasks
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.source import TaskSource

PIN_RAGGED = "a8f6a841763c9542af77fac1ecea3f2463abcc2686e1dd46f2121b3d25647c27"
PIN_OMNIGLOT = "59293d90148c8597da0a27d9827cfcd8fd3c1a4605a1c83e5d42424cece72783"
Same = Callable[[Task, Task], None]
RAGGED = EpisodeSpec((2, 6), (1, 4), (2, 7))
sizes = st.one_of(st.integers(1, 5), st.tuples(st.integers(1, 3), st.integers(3, 5)))
specs = st.builds(EpisodeSpec, sizes, sizes, sizes)
indices = st.lists(st.integers(0, 2**40), min_size=1, max_size=5)
quick = settings(deadline=None, max_examples=40)


@quick
@given(specs, indices, st.integers(-5, 10**12), st.booleans())
def test_a_batch_is_its_tasks_stacked(
    view: ClassView, same: Same, spec: EpisodeSpec, chosen: list[int], seed: int, within: bool
) -> None:
    episodes = Episodes(view, spec, seed=seed, split="val", within_group=within)
    same(episodes.batch(chosen), stack_tasks([episodes.task(i) for i in chosen]))


@quick
@given(specs, st.integers(0, 2**40), st.integers(0, 100))
def test_a_task_holds_what_it_says(view: ClassView, spec: EpisodeSpec, index: int, seed: int) -> None:
    task = Episodes(view, spec, seed=seed, split="train", dtype=torch.uint8).task(index)
    names, members = task.info["classes"], task.info["members"]
    way, total = len(names), len(members[0])
    shot = len(task.support.targets) // way
    for value, name in ((way, "way"), (shot, "shot"), (total - shot, "queries")):
        low, high = spec.range_of(name)
        assert low <= value <= high
    assert len(set(names)) == way
    assert all(len(set(row)) == total for row in members)  # support and query are disjoint
    assert task.support.mask is None
    assert task.query.mask is None
    assert task.support.targets.tolist() == [slot for slot in range(way) for _ in range(shot)]
    assert task.query.targets.tolist() == [slot for slot in range(way) for _ in range(total - shot)]
    assert task.support.classes is not None
    assert task.support.classes.tolist() == [True] * way
    support = torch.stack([example(view, n, m) for n, row in zip(names, members, strict=True) for m in row[:shot]])
    query = torch.stack([example(view, n, m) for n, row in zip(names, members, strict=True) for m in row[shot:]])
    assert torch.equal(task.support.inputs, support)
    assert torch.equal(task.query.inputs, query)


def example(view: ClassView, name: str, member: int) -> torch.Tensor:
    """One example of a class as the view shows it, read the slow way."""
    c = view.names.index(name)
    image = view.store.of_class(int(view.index[c]))[member]
    return torch.from_numpy(np.rot90(image, int(view.rotation[c]), axes=(1, 2)).copy())


def test_the_law_of_equality_notices_a_difference(view: ClassView, same: Same) -> None:
    first = Episodes(view, RAGGED, seed=0, split="test")
    with pytest.raises(AssertionError):
        same(first.batch([0, 1]), first.batch([0, 2]))


def test_turning_at_each_reading_gives_the_same(view: ClassView, same: Same, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Episodes(view, RAGGED, seed=0, split="test").batch(range(20))
    monkeypatch.setattr("metacortex.tasks.reading.TURNED_BYTES", 0)
    same(Episodes(view, RAGGED, seed=0, split="test").batch(range(20)), kept)


@pytest.mark.parametrize("part", ["seed", "split"])
def test_seed_and_split_matter(view: ClassView, part: str) -> None:
    one = Episodes(view, EpisodeSpec(), seed=0, split="train", min_examples=16)
    other = Episodes(view, EpisodeSpec(), **{"seed": 0, "split": "train", part: {"seed": 1, "split": "val"}[part]},
                     min_examples=16)  # fmt: skip
    assert one.fingerprint(20) != other.fingerprint(20)
    assert one.task(0).info["members"] != other.task(0).info["members"]


def test_a_larger_way_or_range_keeps_what_was_drawn(upright: ClassView) -> None:
    small = Episodes(upright, EpisodeSpec(3, 1, 5), seed=0, split="test").task(7)
    large = Episodes(upright, EpisodeSpec(6, 1, 5), seed=0, split="test").task(7)
    assert large.info["classes"][:3] == small.info["classes"]
    assert large.info["members"][:3] == small.info["members"]


def test_fingerprint_is_pinned_and_the_same_in_another_process(view: ClassView) -> None:
    episodes = Episodes(view, RAGGED, seed=11, split="test")
    assert episodes.fingerprint(300) == PIN_RAGGED
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import make_views\n"
        "from metacortex.tasks.episodes import Episodes, EpisodeSpec\n"
        "spec = EpisodeSpec((2, 6), (1, 4), (2, 7))\n"
        "print(Episodes(make_views()[1], spec, seed=11, split='test').fingerprint(300))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONHASHSEED": "77"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == PIN_RAGGED


def test_fingerprint_covers_members_and_rotations(view: ClassView, upright: ClassView) -> None:
    spec = EpisodeSpec(5, 1, 5)
    prints = {
        Episodes(v, s, seed=0, split="a").fingerprint(50)
        for v, s in (
            (upright, spec),
            (ClassView(upright.store, upright.index, np.full(20, 2)), spec),
            (ClassView(upright.store, upright.index[::-1], upright.rotation), spec),
            (upright, EpisodeSpec(5, 1, 6)),
            (upright, EpisodeSpec(5, 2, 4)),
        )
    }
    assert len(prints) == 5
    longer = Episodes(upright, spec, seed=0, split="a")
    assert longer.fingerprint(50) != longer.fingerprint(51)
    assert longer.fingerprint() == longer.fingerprint(1000)


def test_classes_and_members_appear_uniformly(upright: ClassView) -> None:
    episodes = Episodes(upright, EpisodeSpec(5, 1, 2), seed=0, split="train")
    infos = [info for batch in episodes.batches(2000, 250) for info in batch.info]
    slots = np.array([[upright.names.index(n) for n in info["classes"]] for info in infos])  # [2000, 5]
    for slot in range(5):
        counts = np.bincount(slots[:, slot], minlength=20)
        assert ((counts - 100) ** 2 / 100).sum() < 43.8  # chi squared, 19 degrees of freedom, p = 0.001
    drawn = [
        row for info in infos for n, row in zip(info["classes"], info["members"], strict=True) if n == upright.names[3]
    ]
    counts = np.bincount(np.ravel(drawn), minlength=15)
    assert len(counts) == 15
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 36.1  # 14 degrees of freedom


def test_ranges_reach_both_ends(view: ClassView) -> None:
    infos = Episodes(view, EpisodeSpec((2, 4), 1, (3, 5)), seed=0, split="train").batch(range(300)).info
    assert {len(info["classes"]) for info in infos} == {2, 3, 4}
    assert {len(info["members"][0]) for info in infos} == {4, 5, 6}


def test_within_group_keeps_to_one_group_chosen_uniformly(upright: ClassView) -> None:
    # groups of 7, 7 and 6 classes; the last cannot fill a 7-way task
    episodes = Episodes(upright, EpisodeSpec(6, 1, 2), seed=0, split="train", within_group=True)
    groups = [{name.split("/")[0] for name in info["classes"]} for info in episodes.batch(range(600)).info]
    assert all(len(g) == 1 for g in groups)
    counts = np.unique([g.pop() for g in groups], return_counts=True)[1]
    assert len(counts) == 3
    assert ((counts - 200) ** 2 / 200).sum() < 13.8
    full = Episodes(upright, EpisodeSpec(7, 1, 2), seed=0, split="train", within_group=True)
    assert {info["classes"][0].split("/")[0] for info in full.batch(range(50)).info} == {"alphabet0", "alphabet1"}
    free = Episodes(upright, EpisodeSpec(6, 1, 2), seed=0, split="train").batch(range(50))
    assert any(len({name.split("/")[0] for name in info["classes"]}) > 1 for info in free.info)


def test_protocol(view: ClassView) -> None:
    assert Episodes(view, EpisodeSpec(5, 1, 5), seed=0, split="test").protocol == "5-way 1-shot 5 queries, split test"
    ranged = Episodes(view, EpisodeSpec((2, 5), 1, (3, 3)), seed=0, split="val", within_group=True)
    assert ranged.protocol == "2..5-way 1-shot 3 queries, split val, classes of one group"


def test_episodes_are_a_task_source_and_can_be_pickled(view: ClassView, same: Same) -> None:
    episodes = Episodes(view, RAGGED, seed=0, split="test")
    batch = episodes.batch([4, 5])
    assert isinstance(episodes, TaskSource)
    same(pickle.loads(pickle.dumps(episodes)).batch([4, 5]), batch)


def test_batches_cover_the_tasks_in_order(upright: ClassView) -> None:
    episodes = Episodes(upright, EpisodeSpec(2, 1, 1), seed=0, split="test")
    assert [[i["index"] for i in b.info] for b in episodes.batches(7, 3, start=10)] == [
        [10, 11, 12],
        [13, 14, 15],
        [16],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_are_the_bytes_scaled_to_one(view: ClassView, dtype: torch.dtype) -> None:
    spec = EpisodeSpec(4, 2, 3)
    raw = Episodes(view, spec, seed=0, split="test", dtype=torch.uint8).task(1).query.inputs
    scaled = Episodes(view, spec, seed=0, split="test", dtype=dtype).task(1).query.inputs
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    assert scaled.dtype == dtype
    assert torch.equal(scaled, (raw.to(exact) / 255).to(dtype))


def test_tables_are_passed_unscaled() -> None:
    rows = np.random.default_rng(0).normal(100, 50, (40, 3)).astype(np.float32)
    view = ClassView.of(ClassStore.from_arrays(rows, np.repeat(np.arange(4), 10)))
    task = Episodes(view, EpisodeSpec(3, 2, 2), seed=0, split="all").task(0)
    wanted = [
        rows[int(n) * 10 + m]
        for n, row in zip(task.info["classes"], task.info["members"], strict=True)
        for m in row[:2]
    ]
    assert torch.equal(task.support.inputs, torch.from_numpy(np.stack(wanted)))
    with pytest.raises(SettingsError, match=r"torch.uint8 needs a store of uint8"):
        Episodes(view, EpisodeSpec(3, 2, 2), seed=0, split="all", dtype=torch.uint8)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", (3, 2), (0, 2), (1, 2, 3), (1, 2.0), None])
@pytest.mark.parametrize("name", ["way", "shot", "queries"])
def test_sizes_must_be_positive(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected a positive int or a range"):
        EpisodeSpec(**{name: value})  # type: ignore[arg-type]


def test_ranges_may_come_as_lists() -> None:
    assert EpisodeSpec([2, 4], 1, 1) == EpisodeSpec((2, 4), 1, 1)  # type: ignore[arg-type]


def test_a_class_too_small_is_named(store_of: Callable[[list[int]], ClassStore]) -> None:
    view = ClassView.of(store_of([20, 20, 3, 5, 20]))
    with pytest.raises(DataError) as error:
        Episodes(view, EpisodeSpec(3, (1, 5), 15), seed=0, split="train")
    assert str(error.value) == (
        "class 'alphabet2/character02' has 3 examples, a 5-shot task with 15 queries needs 20 "
        "(1 other class is too small as well): lower shot or queries, or drop such classes with min_examples=20"
    )
    kept = Episodes(view, EpisodeSpec(3, (1, 5), 15), seed=0, split="train", min_examples=20)
    names = {name for info in kept.batch(range(50)).info for name in info["classes"]}
    assert names == {view.names[c] for c in (0, 1, 4)}
    with pytest.raises(DataError, match=r"has 5 examples, .* needs 20: lower"):
        Episodes(view, EpisodeSpec(3, (1, 5), 15), seed=0, split="train", min_examples=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"spec": EpisodeSpec((2, 21), 1, 1)},
            r"a 21-way task needs 21 classes, split 'test' has 20 .*: lower way to 20",
        ),
        (
            {"spec": EpisodeSpec(8, 1, 1), "within_group": True},
            r"needs a group of 8 classes, the largest .* has 7: lower way",
        ),
        ({"min_examples": 17}, r"no class of split 'test' has min_examples=17 examples, the largest has 16: lower"),
        ({"dtype": torch.int64}, r"dtype: expected a floating type or torch.uint8, got torch.int64"),
    ],
)
def test_impossible_tasks(upright: ClassView, options: dict, message: str) -> None:
    expected = SettingsError if "dtype" in options else DataError
    with pytest.raises(expected, match=message):
        Episodes(upright, **{"spec": EpisodeSpec(2, 1, 1), "seed": 0, "split": "test", **options})


def test_views_without_classes_or_groups(upright: ClassView) -> None:
    nothing = ClassView(upright.store, np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="split 'test' of 'tiny' has no classes"):
        Episodes(nothing, EpisodeSpec(2, 1, 1), seed=0, split="test")
    with pytest.raises(DataError, match="the classes of 'tiny' have no groups"):
        Episodes(ClassView.of(upright.store), EpisodeSpec(2, 1, 1), seed=0, split="test", within_group=True)


def test_indices_count_from_zero(upright: ClassView) -> None:
    episodes = Episodes(upright, EpisodeSpec(2, 1, 1), seed=0, split="test")
    with pytest.raises(DataError, match="task indices count from 0, got -1"):
        episodes.batch([3, -1])
    with pytest.raises(DataError, match="task indices count from 0, got -2"):
        episodes.task(-2)
    with pytest.raises(DataError, match="at least one task index"):
        episodes.batch([])
    with pytest.raises(TypeError):
        episodes.task(1.0)  # type: ignore[arg-type]


@pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not say where Omniglot is")
def test_the_first_thousand_omniglot_test_tasks_are_pinned() -> None:
    from metacortex.data.omniglot import load_omniglot

    view = load_omniglot(protocol="vinyals").splits["test"]
    episodes = Episodes(view, EpisodeSpec(5, 1, 15), seed=0, split="test")
    assert episodes.fingerprint(1000) == PIN_OMNIGLOT
    batch = episodes.batch(range(8))
    assert batch.query.inputs.shape == (8, 75, 1, 28, 28)
    assert float(batch.query.inputs.max()) == 1.0
    assert float(batch.query.inputs.min()) == 0.0
