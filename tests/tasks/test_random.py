from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.tasks.random import bits, choose, fold, integers, permutation, root_key, sample

ROOT = 5534857838112722099
FOLDED = [5872872986384457513, 16773895177061445966, 843951030213061493]
CHOSEN = [[0, 5, 7, 10, 19, 8], [9, 18, 1, 3, 7, 10], [18, 11, 8, 0, 7, 14]]
PERMUTED = [1, 6, 3, 2, 4, 7, 0, 5]


def test_bits_are_the_published_splitmix64_sequence() -> None:
    seeded = bits(np.array(1234567, dtype=np.uint64), 5)
    assert seeded.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_keys_are_pinned() -> None:
    key = root_key(0, "test")
    assert int(key) == ROOT
    assert int(fold(key, 0)) == FOLDED[0]
    assert fold(key, [0, 1, 2]).tolist() == FOLDED
    assert choose(fold(key, np.arange(3)), 20, 6).tolist() == CHOSEN
    assert permutation(key, 8).tolist() == PERMUTED


def test_keys_depend_on_every_part() -> None:
    seeds = [int(root_key(s, split)) for s in (-1, 0, 1, 2**70) for split in ("train", "val", "test")]
    assert len(set(seeds)) == len(seeds)
    folded = fold(root_key(0, "train")[None, None], np.arange(3000).reshape(3, 1000))
    assert folded.shape == (3, 1000)
    assert len(np.unique(folded)) == 3000


def test_more_bits_only_append() -> None:
    keys = fold(root_key(3, "val"), np.arange(7))
    assert np.array_equal(bits(keys, 9)[:, :4], bits(keys, 4))


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32))
def test_integers_are_the_exact_high_product(word: int, below: int) -> None:
    assert int(integers(np.array([word], dtype=np.uint64), below)[0]) == word * below >> 64


def test_integers_are_uniform() -> None:
    drawn = integers(bits(root_key(0, "x"), 70_000), 7)
    counts = np.bincount(drawn, minlength=7)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 22.46  # chi squared, 6 degrees of freedom, p = 0.001


@settings(deadline=None)
@given(st.lists(st.integers(12, 300), min_size=1, max_size=8), st.integers(0, 12), st.integers(0, 10**9))
def test_choose_draws_distinct_numbers_in_range(populations: list[int], count: int, seed: int) -> None:
    keys = fold(root_key(seed, "c"), np.arange(len(populations)))
    drawn = choose(keys, np.array(populations), count)
    assert drawn.shape == (len(populations), count)
    for row, population, key in zip(drawn, populations, keys, strict=True):
        assert len(set(row.tolist())) == count
        assert all(0 <= n < population for n in row)
        alone = choose(key[None], population, 12)[0]
        assert np.array_equal(alone[:count], row)  # neither the other rows nor the count matter


def test_choose_makes_every_ordered_draw_equally_likely() -> None:
    drawn = choose(fold(root_key(0, "d"), np.arange(60_000)), 5, 3)
    counts = np.unique(drawn @ np.array([25, 5, 1]), return_counts=True)[1]
    assert len(counts) == 60
    assert ((counts - 1000) ** 2 / 1000).sum() < 98.3  # chi squared, 59 degrees of freedom, p = 0.001


def test_choosing_all_is_a_permutation() -> None:
    drawn = choose(fold(root_key(0, "e"), np.arange(50)), 20, 20)
    assert np.array_equal(np.sort(drawn, axis=1), np.tile(np.arange(20), (50, 1)))


def test_choose_refuses_too_small_a_population() -> None:
    with pytest.raises(ValueError, match="cannot choose 4 distinct numbers from a population of 3"):
        choose(fold(root_key(0, "f"), np.arange(2)), np.array([9, 3]), 4)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**64 - 1))
def test_sample_draws_distinct_numbers_and_more_only_append(count: int, extra: int, seed: int) -> None:
    key = np.array(seed, dtype=np.uint64)
    drawn = sample(key, count + extra, count)
    assert len(set(drawn.tolist())) == len(drawn) == count
    assert ((drawn >= 0) & (drawn < count + extra)).all()
    assert sample(key, count + extra, count + extra)[:count].tolist() == drawn.tolist()


def test_sample_makes_every_ordered_draw_equally_likely() -> None:
    draws = [tuple(sample(key, 4, 2).tolist()) for key in fold(root_key(0, "x"), np.arange(6000))]
    counts = Counter(draws)
    assert len(counts) == 12
    assert max(abs(n - 500) for n in counts.values()) < 100


def test_sample_refuses_too_small_a_population() -> None:
    with pytest.raises(ValueError, match="cannot choose 3 distinct numbers from a population of 2"):
        sample(root_key(0, "x"), 2, 3)


def test_permutation_holds_every_number() -> None:
    order = permutation(root_key(0, "g"), 1000)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, permutation(root_key(1, "g"), 1000))
