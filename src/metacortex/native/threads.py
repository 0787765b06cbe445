"""Dealing the work of a kernel to threads: calls into C do without Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["pool", "shared", "summed"]

Result = TypeVar("Result")


def shared(share: Callable[[int, int], Result], count: int, fewest: int) -> list[Result]:
    """Deal ``count`` pieces of work to as many threads as PyTorch would take.

    Args:
        share: does the pieces from a first to before a last.
        count: pieces, at least 1.
        fewest: pieces for which a thread pays.

    Returns:
        What the shares gave, in order.
    """
    threads = torch.get_num_threads()
    shares = max(1, min(threads, count // max(fewest, 1)))
    if shares == 1:
        return [share(0, count)]
    cuts = [count * i // shares for i in range(shares + 1)]
    others = [pool("kernel", threads - 1).submit(share, a, b) for a, b in pairwise(cuts[1:])]
    return [share(cuts[0], cuts[1]), *(other.result() for other in others)]


def summed(share: Callable[[int, int], Tensor], count: int, fewest: int) -> Tensor:
    """The sum of what the shares of `shared` gave, each a tensor of its own."""
    total, *others = shared(share, count, fewest)
    for other in others:
        total += other
    return total


@cache
def pool(name: str, threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work until the process ends. Who waits for work in turn needs a name of its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name)


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=pool.cache_clear)
