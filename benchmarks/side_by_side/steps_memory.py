"""Peak memory against the number of inner steps, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.side_by_side.case import Case, Contender, Unable
from benchmarks.side_by_side.cases import CASES
from benchmarks.side_by_side.processes import Racer

__all__ = ["STEPS", "Peak", "measure_peaks", "memory_case", "slopes"]

STEPS = (1, 5, 10, 25, 50, 100)
"""K."""

_FROM = 10
"""Slopes are taken from here to the largest K: with fewer steps metacortex keeps the whole graph."""


@dataclass(frozen=True)
class Peak:
    """Memory of one contender at one K; ``mib`` is ``None`` where it failed, ``reason`` says why."""

    contender: str
    steps: int
    mib: float | None
    reason: str | None = None


def memory_case(steps: int) -> Case:
    """One Conv4 task of 28×28 images, order 2."""
    whole = next(c for c in CASES if c.name == "Conv4 28x28 K=5 order 2")
    batch = whole.batch
    return replace(
        whole,
        name=f"memory K={steps}",
        steps=steps,
        inner_lr=0.01,
        batch=lambda: type(b := batch())(*(x[:1] for x in (b.support, b.support_targets, b.query, b.query_targets))),
    )


def measure_peaks(contenders: Sequence[Contender], steps: Sequence[int] = STEPS) -> list[Peak]:
    """Peak MiB of one step over what importing takes, with the allocator as it is installed."""
    found = []
    for contender in contenders:
        for k in steps:
            racer = Racer(memory_case(k), replace(contender, installed=True))
            try:
                found.append(Peak(contender.name, k, racer.warm_up()["mib"]))
            except Unable as error:
                found.append(Peak(contender.name, k, None, str(error)))
            racer.close()
            last = found[-1]
            said = last.reason if last.mib is None else f"+{last.mib:.0f} MiB"
            print(f"memory K={k:<4} {contender.name:<22} {said}", flush=True)
    return found


def slopes(peaks: Sequence[Peak]) -> dict[str, float]:
    """Bytes per further inner step relative to the bytes of the adapted parameters."""
    size = sum(p.numel() * 4 for p in memory_case(1).network().parameters())
    found = {}
    for name in dict.fromkeys(p.contender for p in peaks):
        mine = sorted((p.steps, p.mib) for p in peaks if p.contender == name and p.mib is not None and p.steps >= _FROM)
        if len(mine) > 1:
            (first, low), (last, high) = mine[0], mine[-1]
            found[name] = (high - low) * 2**20 / (last - first) / size
    return found
