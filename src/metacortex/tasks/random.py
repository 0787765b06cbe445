"""Random numbers that are a pure function of where they are used.

There is no state to advance or to save: the number at ``position`` of the stream ``stream`` of
task ``index`` depends on ``(seed, split, index, stream, position)`` and nothing else. So task *i*
is the same on every machine, for any number of processes, and a run resumes at any *i*.

The generator is SplitMix64 used as a keyed hash: a key is folded from its parts, the numbers of a
key are the SplitMix64 sequence seeded with it. Integer arithmetic modulo 2**64 only, so no
platform, thread count or floating-point mode can change a draw.

Reference: G. L. Steele, D. Lea, C. H. Flood, *Fast Splittable Pseudorandom Number Generators*,
OOPSLA 2014; constants of Stafford's variant 13, as in Java's ``SplittableRandom``.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bits", "choose", "fold", "integers", "permutation", "root_key", "sample"]

Keys = NDArray[np.uint64]
Integers = NDArray[np.int64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTOR1, _FACTOR2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT1, _SHIFT2, _SHIFT3 = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF = np.uint64(32)
_LOW32 = np.uint64(0xFFFFFFFF)


def root_key(seed: int, split: str) -> Keys:
    """The key of a split under a seed, from which all others are folded.

    Args:
        seed: any integer.
        split: any text, e.g. ``"test"``.

    Returns:
        ``[]`` uint64.
    """
    digest = hashlib.sha256(f"{int(seed)}\0{split}".encode()).digest()
    return np.array(int.from_bytes(digest[:8], "little"), dtype=np.uint64)


def fold(keys: Keys, numbers: ArrayLike) -> Keys:
    """New keys from keys and integers (an index, the name of a stream, a slot).

    For one key, different numbers always give different keys.

    Args:
        keys: uint64, broadcast against ``numbers``.
        numbers: non-negative integers.

    Returns:
        uint64 of the broadcast shape.
    """
    words = np.asarray(numbers).astype(np.uint64)
    with np.errstate(over="ignore"):  # numpy warns of wrapping for zero-dimensional words, never for arrays
        return _mix(_mix(words + _GAMMA) ^ keys)


def bits(keys: Keys, n: int) -> Keys:
    """The first ``n`` random words of each key: the SplitMix64 sequence seeded with the key.

    Args:
        keys: ``[...]`` uint64.
        n: how many.

    Returns:
        ``[..., n]`` uint64; a larger ``n`` only appends.

    Example:
        >>> [hex(int(word)) for word in bits(np.array(0, dtype=np.uint64), 2)]
        ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    steps = np.arange(1, n + 1, dtype=np.uint64) * _GAMMA
    return _mix(np.asarray(keys, dtype=np.uint64)[..., None] + steps)


def integers(words: Keys, below: ArrayLike) -> Integers:
    """Uniform integers in ``0 .. below-1`` from random words.

    The upper half of the product ``word * below``. A value's probability differs from
    ``1/below`` by less than ``2**-64`` (no rejection, so one word always makes one number):
    for the sizes allowed here that is a relative error below ``2**-32``, beyond any experiment.

    Args:
        words: uint64 random words.
        below: positive integers up to ``2**32``, broadcast against ``words``.

    Returns:
        int64 of the broadcast shape.
    """
    limit = np.asarray(below).astype(np.uint64)
    high, low = words >> _HALF, words & _LOW32
    return ((high * limit + ((low * limit) >> _HALF)) >> _HALF).astype(np.int64)


def choose(keys: Keys, population: ArrayLike, count: int) -> Integers:
    """Distinct numbers in random order, for many keys at once.

    Every ordered draw of ``count`` out of ``population`` is equally likely, and a larger
    ``count`` only appends: the first columns stay what they were.

    Draw *j* picks the rank ``r`` of a number among those not yet taken; with the taken ones in
    ascending order ``c_0 < c_1 < ...`` that number is ``r + #{k : c_k - k <= r}``.

    Args:
        keys: ``[R]`` uint64, one per row.
        population: size of the population, ``[]`` or ``[R]``, each at least ``count``.
        count: numbers per row.

    Returns:
        ``[R, count]`` int64, row ``r`` within ``0 .. population[r]-1``.

    Raises:
        ValueError: if a population is smaller than ``count``.
    """
    sizes = np.broadcast_to(np.asarray(population, dtype=np.int64), keys.shape)
    if sizes.size and sizes.min() < count:
        raise ValueError(f"cannot choose {count} distinct numbers from a population of {sizes.min()}")
    ranks = integers(bits(keys, count), sizes[:, None] - np.arange(count))  # [R, count]
    drawn = ranks.copy()
    for j in range(1, count):
        free_below = np.sort(drawn[:, :j], axis=1) - np.arange(j)  # [R, j]
        drawn[:, j] += (free_below <= ranks[:, j, None]).sum(axis=1)
    return drawn


def sample(key: Keys, population: int, count: int) -> Integers:
    """Distinct numbers in random order for one key, quick also where many are drawn.

    Every ordered draw of ``count`` out of ``population`` is equally likely, and a larger ``count`` only appends:
    numbers drawn with replacement, those that came before left out. (`choose` draws for many keys at once, in time
    quadratic in ``count``.)

    Args:
        key: ``[]`` uint64.
        population: size of the population, at least ``count``.
        count: how many.

    Returns:
        ``[count]`` int64 within ``0 .. population-1``.

    Raises:
        ValueError: if the population is smaller than ``count``.
    """
    if population < count:
        raise ValueError(f"cannot choose {count} distinct numbers from a population of {population}")
    words = 2 * count + 16
    while True:
        drawn = integers(bits(key, words), max(population, 1))
        first = np.sort(np.unique(drawn, return_index=True)[1])
        if len(first) >= count:
            return drawn[first[:count]]
        words *= 4


def permutation(key: Keys, size: int) -> Integers:
    """A random order of ``0 .. size-1``.

    Args:
        key: ``[]`` uint64.
        size: length.

    Returns:
        ``[size]`` int64: the stable order of ``size`` random words.
    """
    return np.argsort(bits(key, size), kind="stable").astype(np.int64)


def _mix(words: Keys) -> Keys:
    """SplitMix64's finaliser, a bijection of the 64-bit words."""
    words = (words ^ (words >> _SHIFT1)) * _FACTOR1
    words = (words ^ (words >> _SHIFT2)) * _FACTOR2
    return words ^ (words >> _SHIFT3)
