"""The model-based family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Entry, ...] = ()
