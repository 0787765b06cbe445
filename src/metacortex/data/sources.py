"""Data sources by name: which there are and how each is loaded."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from metacortex.cache import cache_dir
from metacortex.data.calling import call_loader
from metacortex.data.dataset import Dataset
from metacortex.errors import DataError, unknown_name

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "added_folder",
    "dataset_names",
    "default_size",
    "find_loader",
    "load_dataset",
]

_COLLECTIONS = "metacortex.data.collections"

BUILT_IN = {
    "bach": f"{_COLLECTIONS}.tables:load_bach",
    "cifar_fs": f"{_COLLECTIONS}.cifar:load_cifar_fs",
    "cub": f"{_COLLECTIONS}.cub:load_cub",
    "digits": "metacortex.data.digits:load_digits",
    "double_mnist": f"{_COLLECTIONS}.mnist:load_double_mnist",
    "fc100": f"{_COLLECTIONS}.cifar:load_fc100",
    "glyphs": "metacortex.data.glyphs:load_glyphs",
    "glyphs_pens": "metacortex.data.glyphs:load_glyphs_pens",
    "gtsrb": f"{_COLLECTIONS}.gtsrb:load_gtsrb",
    "letter": f"{_COLLECTIONS}.tables:load_letter",
    "mini_imagenet": f"{_COLLECTIONS}.mini_imagenet:load_mini_imagenet",
    "mnist": f"{_COLLECTIONS}.mnist:load_mnist",
    "omniglot": "metacortex.data.omniglot:load_omniglot",
    "omniglot_challenge": "metacortex.data.omniglot_challenge:load_omniglot_challenge",
    "plants_margin": f"{_COLLECTIONS}.tables:load_plants_margin",
    "plants_shape": f"{_COLLECTIONS}.tables:load_plants_shape",
    "plants_texture": f"{_COLLECTIONS}.tables:load_plants_texture",
    "tiered_imagenet": f"{_COLLECTIONS}.tiered_imagenet:load_tiered_imagenet",
    "triple_mnist": f"{_COLLECTIONS}.mnist:load_triple_mnist",
}
"""The sources of this package: module and function, imported when asked for."""

ENTRY_POINTS = "metacortex.datasets"
"""Group of entry points by which other packages add functions ``(**options) -> Dataset``."""


def dataset_names() -> list[str]:
    """Sorted names that `load_dataset` knows: built in, from other packages, and added by the user."""
    kept = cache_dir() / "data"
    added = [p.parent.name for p in kept.glob("*/source.json")] if kept.is_dir() else []
    return sorted({*BUILT_IN, *entry_points(group=ENTRY_POINTS).names, *added})


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load a data source.

    Args:
        name: a name of `dataset_names`, the path of a folder of class folders, or ``folder:PATH``.
        options: of the source, e.g. ``size=28``, ``rotations="train"``, ``protocol="vinyals"``.

    Raises:
        SettingsError: for a name or option that does not exist, naming the nearest that does.
        DataError: if the data are missing or broken.

    Example:
        >>> load_dataset("digits", size=8).store.shape
        (1, 8, 8)
    """
    loader, fixed = find_loader(name)
    return call_loader(f"data source {name}", loader, fixed, options)


def default_size(name: str) -> int:
    """The side in pixels to which a source brings its images where none is asked for; 0 where it has no images.

    Raises:
        SettingsError: for an unknown name.
        DataError: for a path that is no folder.

    Example:
        >>> default_size("glyphs"), default_size("mini_imagenet"), default_size("letter")
        (28, 84, 0)
    """
    size = inspect.signature(find_loader(name)[0]).parameters.get("size")
    return size.default if size is not None and isinstance(size.default, int) else 0


def find_loader(name: str) -> tuple[Callable[..., Dataset], dict[str, Any]]:
    """The function that loads a source, and the arguments that its name stands for.

    Raises:
        SettingsError: for an unknown name.
        DataError: for a path that is no folder.
    """
    if name in BUILT_IN:
        module, _, function = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), function), {}
    if name.startswith("folder:"):
        return _folder(name.removeprefix("folder:"))
    kept = added_folder(name)
    if kept is not None:
        loader, fixed = _folder(str(kept / "images"))
        return loader, {**fixed, "name": name}
    others = entry_points(group=ENTRY_POINTS)
    if name in others.names:
        return others[name].load(), {}
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _folder(name)
    if path.is_file():
        raise DataError(f"{path} is a file: name a folder with a sub-folder of images for each class")
    if os.sep in name or name.startswith((".", "~")):
        raise DataError(f"{path}: there is no such folder")
    raise unknown_name("data source", name, [*dataset_names(), "folder:PATH"])


def added_folder(name: str) -> Path | None:
    """Where the source that the user added under this name lies; ``None`` if there is none."""
    if not name or name in (".", "..") or "/" in name or os.sep in name:
        return None
    place = cache_dir() / "data" / name
    return place if (place / "source.json").is_file() else None


def _folder(path: str) -> tuple[Callable[..., Dataset], dict[str, Any]]:
    module = importlib.import_module("metacortex.data.folder")
    return module.load_folder, {"path": Path(path).expanduser()}
