"""Batch-norm statistics as part of a learner's state."""

from __future__ import annotations

from metacortex.learners.base import State
from metacortex.nn.norm import Statistics

__all__ = ["pack_statistics", "unpack_statistics"]


def pack_statistics(state: State, statistics: Statistics | None) -> State:
    """The state with statistics added, if there are any."""
    if not statistics:
        return state
    return {**state, "statistics": {name: {"mean": m, "var": v} for name, (m, v) in statistics.items()}}


def unpack_statistics(state: State) -> Statistics | None:
    """The statistics kept in a state, or ``None``: use those of the batch."""
    kept = state.get("statistics")
    return None if kept is None else {name: (s["mean"], s["var"]) for name, s in kept.items()}
