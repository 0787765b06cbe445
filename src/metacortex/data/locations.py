"""Where data is looked for and where stores are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from metacortex.cache import cache_dir

__all__ = ["data_roots", "searching_first", "stores_dir"]

_FIRST: ContextVar[tuple[Path, ...]] = ContextVar("first", default=())


def data_roots() -> list[Path]:
    """The folders searched for sources, in order: ``$METACORTEX_DATA`` where set, then ``data`` in the cache.

    Before them those of `searching_first`.
    """
    chosen = os.environ.get("METACORTEX_DATA")
    roots = [Path(chosen).expanduser()] if chosen else []
    return [*_FIRST.get(), *roots, cache_dir() / "data"]


@contextmanager
def searching_first(root: str | Path) -> Iterator[None]:
    """Look for sources in this folder before all others, as long as the context lasts."""
    token = _FIRST.set((Path(root).expanduser(), *_FIRST.get()))
    try:
        yield
    finally:
        _FIRST.reset(token)


def stores_dir() -> Path:
    """The folder of the stores built from sources."""
    return cache_dir() / "stores"
