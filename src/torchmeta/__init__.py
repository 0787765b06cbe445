"""The names of torchmeta 1.8.0, kept working on today's PyTorch by metacortex.

Old programs run as they are; ``docs/torchmeta.md`` says name by name what is the same, what is better and what is
missing. ``torchmeta.algos`` holds the learners of metacortex under one simple face.

Raises:
    ImportError: if the distribution called ``torchmeta`` is installed in the same environment: its files and these
        lie in one folder and would be mixed.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from torchmeta.version import VERSION as __version__

__all__ = ["__version__"]

_PACKAGES = ("algos", "datasets", "modules", "toy", "transforms", "utils")


def __getattr__(name: str) -> Any:
    """The packages inside, loaded when asked for, so that ``import torchmeta`` is enough."""
    if name in _PACKAGES:
        return importlib.import_module(f"torchmeta.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES])


def _refuse_original() -> None:
    try:
        found = metadata.version("torchmeta")
    except metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"the distribution torchmeta {found} is installed beside metacortex, which ships a package of the same name: "
        "the files of the two would be mixed. Run: pip uninstall torchmeta && pip install --force-reinstall "
        "--no-deps metacortex"
    )


_refuse_original()
