"""Running a piece of a computation again with the random numbers that it had the first time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from metacortex.nn.mode import recording

__all__ = ["RandomState", "random_state", "replayed"]

RandomState = tuple[torch.Tensor, torch.Tensor | None]
"""State of the CPU's generator and of the current GPU's, where one is in use."""


def random_state() -> RandomState | None:
    """The present state, or ``None`` while recording or compiling, where random states cannot be read."""
    if recording():
        return None
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


@contextmanager
def replayed(state: RandomState | None) -> Iterator[None]:
    """Start from a random state inside; afterwards the state is as if nothing had run."""
    if state is None:
        yield
        return
    cpu, gpu = state
    with torch.random.fork_rng(devices=[] if gpu is None else [torch.cuda.current_device()]):
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu)
        yield
