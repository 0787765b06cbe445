"""Where is kept what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """The folder for everything that can be made again: ``$METACORTEX_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("METACORTEX_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("metacortex"))
