"""Peak memory against the number of inner steps, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.cases import CASES

__all__ = ["MEMORY", "memory_case", "slopes"]

MEMORY = "memory K="
"""Names of these cases: ``memory K=10`` …"""


def memory_case(steps: int) -> Case:
    """One Conv4 task of 28×28 images, order 2."""
    whole = next(c for c in CASES if c.name == "Conv4 28x28 K=5 order 2")
    batch = whole.batch
    return replace(
        whole,
        name=f"{MEMORY}{steps}",
        steps=steps,
        inner_lr=0.01,
        batch=lambda: type(b := batch())(*(x[:1] for x in (b.support, b.support_targets, b.query, b.query_targets))),
    )


def slopes(peaks: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Bytes per further inner step relative to the bytes of the adapted parameters, from first to last K."""
    network = memory_case(1).network()
    size = sum(p.numel() * 4 for p in network.parameters())
    found = {}
    for name in dict.fromkeys(p["contender"] for p in peaks):
        mine = sorted((p["steps"], p["mib"]) for p in peaks if p["contender"] == name and p["mib"] is not None)
        if len(mine) > 1:
            (first, low), (last, high) = mine[0], mine[-1]
            found[name] = (high - low) * 2**20 / (last - first) / size
    return found
