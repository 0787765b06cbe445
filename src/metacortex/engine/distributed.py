"""Several processes, on one machine or many, that share the tasks of each meta-step.

Started by ``torchrun`` (or anything that sets the same variables), each process computes the gradients of
its share of the tasks; sums over all of them are exchanged once per step, so that every process takes the
same outer step. Nothing of a learner is wrapped: functional gradients and the hooks of PyTorch's
`DistributedDataParallel` do not go together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from metacortex.errors import RunError, first_line

__all__ = ["Ranks", "joined"]

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` sets for each process, the rank on its machine (``LOCAL_RANK``) beside it."""

_PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others. One that was killed is noticed at once, as its connections close;
this is for machines that vanish, and must be longer than one process may take over a step or a compilation."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen by one of them; by default this one alone.

    Every method but `share` must be called by all of them, in the same order. Exchange goes through the
    default process group of `torch.distributed`.

    Attributes:
        rank: number of this process, 0 … size − 1. Number 0 writes the run folder and talks.
        size: how many there are.
        local_rank: number of this process on its machine.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of ``count`` things this process does: as even as can be, in the order of the ranks.

        Example:
            >>> [list(Ranks(rank, 3).share(5)) for rank in range(3)]
            [[0], [1, 2], [3, 4]]
        """
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, x: Tensor) -> Tensor:
        """Elementwise sum over all processes, bit for bit the same in each.

        Args:
            x: of the same shape and dtype in each.

        Raises:
            RunError: if another process has ended, as for all methods that exchange something.
        """
        if self.size == 1:
            return x
        total = x.detach().clone()
        with _meeting():
            dist.all_reduce(total)
        return total

    def tell(self, make: Callable[[], Value]) -> Value:
        """What process 0 makes, for all of them; it should be small.

        Args:
            make: called in process 0 alone. Should it fail, the others fail as well.
        """
        if self.size == 1:
            return make()
        found: list[Any] = [None, None]
        failure: Exception | None = None
        if self.first:
            try:
                found[0] = make()
            except Exception as error:
                failure, found[1] = error, str(error) or type(error).__name__
        with _meeting():
            dist.broadcast_object_list(found, src=0)
        if failure is not None:
            raise failure
        if found[1] is not None:
            raise RunError(f"process 0 of this run cannot go on: {found[1]}")
        return found[0]

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of their ranks, in each of them; they should be small."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _meeting():
            dist.all_gather_object(found, value)
        return found

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """Give tensors the values that they have in process 0, in place.

        Args:
            tensors: the same names, shapes and dtypes in each process.
        """
        if self.size == 1:
            return
        for x in tensors.values():
            # What is exchanged must be contiguous; weights in channels-last order are not.
            values = x.detach().contiguous().clone()
            with _meeting():
                dist.broadcast(values, src=0)
            with torch.no_grad():
                x.copy_(values)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """On each machine one process does what is inside before the others, which then find it done (caches)."""
        if self.local_rank:
            self._go_on(None)
        try:
            yield
        except Exception as error:
            if not self.local_rank:
                self.gather(str(error))
            raise
        if not self.local_rank:
            self._go_on(None)

    def _go_on(self, trouble: str | None) -> None:
        found = self.gather(trouble)
        for rank, text in enumerate(found):
            if text is not None:
                raise RunError(f"process {rank} of this run cannot go on: {text}")

    def agree(self, what: str, value: object) -> None:
        """See that all processes have the same.

        Raises:
            RunError: in all of them, naming those that differ from process 0.
        """
        found = self.gather(value)
        other = [str(rank) for rank, theirs in enumerate(found) if theirs != found[0]]
        if other:
            raise RunError(
                f"process {', '.join(other)} of {self.size} has other {what} than process 0: every machine needs the "
                "same version of metacortex, the same command and the same data"
            )


@contextmanager
def joined(*, patience: timedelta = _PATIENCE) -> Iterator[Ranks]:
    """Meet the processes that were started together with this one; alone where none were.

    Where the process group exists already it is used, and left as it is. Otherwise one is made with the
    variables that ``torchrun`` sets: gloo, and NCCL for what lies on GPUs.

    Args:
        patience: how long to wait for another process.

    Raises:
        RunError: if they cannot be reached.

    Example:
        >>> with joined() as ranks:
        ...     (ranks.size, ranks.first)
        (1, True)
    """
    if dist.is_available() and dist.is_initialized():
        yield _present()
        return
    if not all(name in os.environ for name in _VARIABLES) or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks()
        return
    if not dist.is_available():
        raise RunError("this build of PyTorch has no torch.distributed: start one process, or install another build")
    gpu = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=patience)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RunError(f"the processes of this run cannot meet at {where}: {_fact(error)}") from error
    try:
        yield _present()
    finally:
        dist.destroy_process_group()


def _present() -> Ranks:
    rank, size = dist.get_rank(), dist.get_world_size()
    return Ranks(rank, size, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size)))


@contextmanager
def _meeting() -> Iterator[None]:
    """What `torch.distributed` raises when others are gone, said for people."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"another process of this run was killed or cannot be reached ({_fact(error)}); the run is kept as "
            "last saved: start the same command again with --resume"
        ) from error


def _fact(error: Exception) -> str:
    text = first_line(error)
    # gloo begins with the place in its source and ends with advice.
    return (text.partition("] ")[2] if text.startswith("[") else text).partition(". ")[0]
