"""Where data is looked for and where stores are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_dir", "data_roots", "stores_dir"]


def cache_dir() -> Path:
    """The folder for everything that can be made again: ``$METACORTEX_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("METACORTEX_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("metacortex"))


def data_roots() -> list[Path]:
    """The folders searched for sources, in order: ``$METACORTEX_DATA`` where set, then ``data`` in the cache."""
    chosen = os.environ.get("METACORTEX_DATA")
    roots = [Path(chosen).expanduser()] if chosen else []
    return [*roots, cache_dir() / "data"]


def stores_dir() -> Path:
    """The folder of the stores built from sources."""
    return cache_dir() / "stores"
