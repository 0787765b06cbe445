"""Lists of classes, and a download that is no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from metacortex.cache import cache_dir
from metacortex.data.collections.lists import load_classes
from metacortex.data.omniglot_lists import load_lists, protocol_splits
from metacortex.errors import DataError

__all__ = ["download_file_from_google_drive", "get_asset", "get_asset_path"]

_NAMES = {
    "cifar-fs": "cifar_fs",
    "fc100": "fc100",
    "cub": "cub",
    "doublemnist": "double_mnist",
    "triplemnist": "triple_mnist",
    "miniimagenet": "mini_imagenet",
}


def get_asset(*args: str, dtype: str | None = None) -> Any:
    """A list of classes that ships with the package.

    Args:
        args: a collection and a split, e.g. ``"cub", "train.json"``; parts of a path before them are ignored.
        dtype: ``"json"`` or nothing, which is found from the name; anything else gives the text.

    Raises:
        DataError: for a list that there is not.
    """
    folder, _, split = "/".join(args).replace("cifar100/", "").rpartition("/")
    folder, split = folder.rpartition("/")[2], split.removesuffix(".json")
    classes = _classes(folder)
    if split not in classes:
        raise DataError(f"there is no list {'/'.join(args)}: there are train, val, test of {', '.join(sorted(_NAMES))}")
    return classes[split] if dtype in (None, "json") else json.dumps(classes[split])


def get_asset_path(*args: str) -> str:
    """The path of a file with that list, made in metacortex's cache.

    Raises:
        DataError: as `get_asset`.
    """
    path = Path(cache_dir(), "torchmeta", *args)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(get_asset(*args)), encoding="utf-8")
    return str(path)


def download_file_from_google_drive(*args: Any, **kwargs: Any) -> NoReturn:
    """Not provided.

    Raises:
        NotImplementedError: always, saying what to do instead.
    """
    raise NotImplementedError(
        "the files that torchmeta kept on Google Drive are gone: put the data where 'metacortex data add NAME --from "
        "FOLDER' finds them, or fetch them with 'metacortex data fetch NAME'"
    )


def _classes(folder: str) -> dict[str, list[str]]:
    if folder == "omniglot":
        return protocol_splits("vinyals", load_lists())
    return load_classes(_NAMES[folder]) if folder in _NAMES else {}
