"""What can be downloaded: where it lies, what its sum is, and where it goes.

``sums.json`` holds the sums: those published for the official archives (MD5), or those of copies that are byte
for byte what the source repository holds (SHA-256).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

__all__ = ["Download", "downloadable", "downloads_of"]


@dataclass(frozen=True)
class Download:
    """One file.

    Attributes:
        path: where it goes below a data root, e.g. ``"omniglot/images_background.zip"``.
        addresses: where it comes from, tried in turn.
        sum: ``"md5:…"`` or ``"sha256:…"`` of the whole file.
    """

    path: str
    addresses: tuple[str, ...]
    sum: str


@functools.cache
def _everything() -> dict[str, tuple[Download, ...]]:
    sums = json.loads(resources.files("metacortex.data.downloads").joinpath("sums.json").read_text(encoding="utf-8"))
    found: dict[str, tuple[Download, ...]] = {}
    for folder, names in _NAMES.items():
        items = tuple(
            Download(path, tuple(a.format(file=path.rpartition("/")[2]) for a in _addresses(path)), digest)
            for path, digest in sums.items()
            if path.startswith(f"{folder}/")
        )
        found |= dict.fromkeys(names, items)
    return found


_NAMES = {"cifar100": ("cifar_fs", "fc100"), "multi30k": ("multi30k",), "omniglot": ("omniglot",)}
"""Folder of the files -> data sources that are made of them."""

_GITHUB = (
    "https://raw.githubusercontent.com/{0}/master/{1}/{{file}}",
    "https://github.com/{0}/raw/master/{1}/{{file}}",
)
_TORONTO = ("https://www.cs.toronto.edu/~kriz/{file}", "https://cs.toronto.edu/~kriz/{file}")


def _addresses(path: str) -> tuple[str, ...]:
    if path.startswith("cifar100/"):
        return _TORONTO
    if path.startswith("multi30k/"):
        return tuple(a.format("multi30k/dataset", "data/task1/raw") for a in _GITHUB)
    folder = "python/one-shot-classification" if path.endswith("all_runs.zip") else "python"
    return tuple(a.format("brendenlake/omniglot", folder) for a in _GITHUB)


def downloadable() -> list[str]:
    """Sorted names of the data that can be downloaded.

    Example:
        >>> downloadable()
        ['cifar_fs', 'fc100', 'multi30k', 'omniglot']
    """
    return sorted(_everything())


def downloads_of(name: str) -> tuple[Download, ...]:
    """The files of a data source; none where no address is known."""
    return _everything().get(name, ())
