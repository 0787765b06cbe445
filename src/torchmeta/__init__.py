"""The names of torchmeta 1.8.0, kept working on today's PyTorch by metacortex.

Old programs run as they are; ``docs/torchmeta.md`` says name by name what is the same, what is better and what is
missing. ``torchmeta.algos`` holds the learners of metacortex under one simple face.

Raises:
    ImportError: if the distribution called ``torchmeta`` is installed in the same environment: its files and these
        lie in one folder and would be mixed.
"""

from __future__ import annotations

from importlib import metadata

from torchmeta.version import VERSION as __version__

__all__ = ["__version__"]


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
