"""Each contender in a process of its own: they take turns, and none has the memory or the settings of another."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side.case import Case, Contender, Gradients, Step, Unable
from benchmarks.side_by_side.ours import compile_seconds
from metacortex.engine.memory import keep_freed_memory

__all__ = ["Racer", "cores", "prepared", "timed"]

Arrays = dict[str, np.ndarray]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepared(case: Case, contender: Contender, dtype: torch.dtype) -> Step:
    """What is timed; whatever a library raises is its answer, as `Unable`."""
    torch.manual_seed(0)
    try:
        return contender.prepare(case, case.network().to(dtype), case.batch().to(dtype))
    except Unable:
        raise
    except Exception as error:
        raise Unable(said(error)) from error


def said(error: Exception) -> str:
    """An exception in one line."""
    if isinstance(error, Unable):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def checked_gradient(case: Case, contender: Contender) -> Arrays:
    """The meta-gradient in float64 on a small part of a case."""
    found: Gradients = prepared(case.to_check(), contender, torch.float64)()
    return {name: g.detach().numpy() for name, g in found.items()}


def timed(step: Step, repeats: int) -> float:
    """Seconds per step, the mean of some in a row, after half as many that do not count."""
    for _ in range(repeats // 2):
        step()
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - began) / repeats


@dataclass
class Racer:
    """A contender that waits in a process of its own, forked from this one.

    This process must not have used PyTorch's threads before: they do not survive a fork.
    """

    case: Case
    contender: Contender
    _pipe: Connection = field(init=False)
    _process: Any = field(init=False)

    def __post_init__(self) -> None:
        self._pipe, other = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_serve, args=(other, self.case, self.contender))
        self._process.start()
        other.close()

    def _ask(self, what: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((what, arguments))
            answer, value = self._pipe.recv()
        except (EOFError, OSError):
            raise Unable("its process ended (out of memory?)") from None
        if answer == "unable":
            raise Unable(value)
        return value

    def warm_up(self) -> dict[str, float]:
        """Prepare and take one step.

        Returns:
            ``mib``: peak memory over what importing takes; ``compiling``: seconds.
        """
        return self._ask("warm_up")

    def gradient(self) -> Arrays:
        """See `checked_gradient`."""
        return self._ask("gradient")

    def time(self, repeats: int = 1) -> float:
        """See `timed`."""
        return self._ask("time", repeats)

    def close(self) -> None:
        """End the process."""
        # Closing the pipe alone would not tell it: contenders forked later hold this end, too.
        with suppress(OSError):
            self._pipe.send(("end", ()))
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, case: Case, contender: Contender) -> None:
    torch.set_num_threads(1 if contender.one_thread else cores())
    if not contender.installed:
        keep_freed_memory()
    step: Step | None = None
    while True:
        try:
            what, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        if what == "end":
            return
        try:
            if what == "warm_up":
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                step = prepared(case, contender, torch.float32)
                step()
                peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
                value: Any = {"mib": peak, "compiling": compile_seconds(case, contender.name)}
            elif what == "gradient":
                value = checked_gradient(case, contender)
            else:
                assert step is not None
                value = timed(step, arguments[0])
            pipe.send(("done", value))
        except Exception as error:  # whatever a library raises is its answer
            pipe.send(("unable", said(error)))
