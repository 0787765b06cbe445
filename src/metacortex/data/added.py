"""Data that users bring, and what is known of every source: behind ``metacortex data``."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metacortex.cache import cache_dir
from metacortex.data.atomic import discard, new_folder
from metacortex.data.collections.base import add_collection, find_collection, home_of
from metacortex.data.collections.catalogue import COLLECTIONS
from metacortex.data.dataset import Dataset
from metacortex.data.folder import list_classes
from metacortex.data.images import read_image
from metacortex.data.omniglot import add_omniglot, find_omniglot
from metacortex.data.sources import BUILT_IN, added_folder, dataset_names, find_loader, load_dataset
from metacortex.data.store import ClassStore
from metacortex.data.text.multi30k import add_multi30k
from metacortex.errors import DataError, MetacortexError

__all__ = ["add", "check", "describe", "overview"]

_ADDERS = {"multi30k": add_multi30k, "omniglot": add_omniglot}
"""Sources that know themselves how they are copied."""

_FORMAT = 1
_MANIFEST, _COLLECTION_MANIFEST = "source.json", "files.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def add(name: str, path: str | Path, *, replace: bool = False) -> Path:
    """Copy data into the cache under a name, every image of it read once.

    Args:
        name: ``"omniglot"``, for a folder with its two archives or their extracted folders; ``"multi30k"``, for
            the folder ``task1`` of its repository; a published collection, e.g. ``"mini_imagenet"``, for a folder in
            one of its layouts; or a new name, for a folder of class folders (see
            `metacortex.data.folder.load_folder`).
        path: where the data are now.
        replace: whether data added under the same name before may go.

    Returns:
        The folder of the copy.

    Raises:
        DataError: if the data are missing or broken, the name cannot be used or is taken, or the disk is full.
            Nothing half-copied is left.
    """
    source = Path(path).expanduser()
    if not _NAME.fullmatch(name) or name in ("folder", "arrays"):
        raise DataError(f"cannot name data {name!r}: use small letters, digits, '-' and '_', e.g. my-symbols")
    known = name in _ADDERS or name in COLLECTIONS
    if not known and name in dataset_names() and added_folder(name) is None:
        raise DataError(f"'{name}' is a data source already: choose another name")
    if not source.is_dir():
        raise DataError(f"{source}: there is no such folder")
    collection = COLLECTIONS.get(name)
    target = cache_dir() / "data" / (home_of(collection, source) if collection else name)
    if target.exists() and not replace:
        raise DataError(f"'{name}' was added before ({target}): replace it with replace=True (--replace)")
    with new_folder(target) as temporary:
        if name in _ADDERS:
            _ADDERS[name](source, temporary)
        elif collection is not None:
            add_collection(collection, source, temporary)
        else:
            _copy_classes(source, temporary / "images")
        published = collection is not None or name in _ADDERS
        _write_manifest(temporary / (_COLLECTION_MANIFEST if published else _MANIFEST), source)
        if replace and target.exists():
            discard(target)
    return target


def overview() -> list[dict[str, Any]]:
    """One row per source, without loading any: ``name``, ``kind`` and whether it is ``available``."""
    rows: list[dict[str, Any]] = []
    for name in dataset_names():
        kind = "built in" if name in BUILT_IN else "added" if added_folder(name) else "from another package"
        rows.append({"name": name, "kind": kind, "available": _available(name)})
    return rows


def describe(name: str, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What is known of a source, as JSON-able facts.

    Args:
        name: of the source.
        progress: called with (classes done, classes in all) when its store has to be built.

    Returns:
        ``name``, ``protocol``, ``classes``, ``images``, ``shape``, ``splits`` (for each: classes, images, least and
        most images of a class), ``within_group``, ``provenance``, ``fingerprint``.

    Raises:
        SettingsError: for an unknown name.
        DataError: if the data are missing or broken.
    """
    data = _load(name, progress)
    return {
        "name": data.name,
        "protocol": data.protocol,
        "classes": len(data.store),
        "images": len(data.store.examples),
        "shape": list(data.store.shape),
        "splits": {split: _split_facts(view.counts()) for split, view in data.splits.items()},
        "within_group": data.within_group,
        "provenance": dict(data.provenance),
        "fingerprint": data.store.fingerprint,
    }


def check(name: str, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Read everything of a source and look for what is wrong.

    Args:
        name: of the source.
        progress: called with (classes done, classes in all) when its store has to be built.

    Returns:
        ``name``, ``ok``, ``problems`` (texts; ``ok`` is whether there are none), ``notes`` (texts: blank images,
        repeated images), ``classes``, ``images`` and ``fingerprint`` where the source could be loaded.

    Raises:
        SettingsError: for an unknown name.
    """
    find_loader(name)
    report: dict[str, Any] = {"name": name, "ok": False, "problems": [], "notes": []}
    for manifest in _manifests(name):
        report["problems"] += _manifest_problems(manifest)
    try:
        data = _load(name, progress)
        data.store.verify()
    except MetacortexError as error:
        report["problems"].append(str(error))
        return report
    report["problems"] += _split_problems(data)
    report["notes"] += _notes(data.store)
    report |= {
        "ok": not report["problems"],
        "classes": len(data.store),
        "images": len(data.store.examples),
        "fingerprint": data.store.fingerprint,
    }
    return report


def _load(name: str, progress: Callable[[int, int], None] | None) -> Dataset:
    loader, fixed = find_loader(name)
    told = "progress" in inspect.signature(loader).parameters and "progress" not in fixed
    return load_dataset(name, **({"progress": progress} if told else {}))


def _available(name: str) -> bool:
    try:
        if name == "omniglot":
            find_omniglot()
        elif name in COLLECTIONS:
            find_collection(COLLECTIONS[name])
    except DataError:
        return False
    return True


def _manifests(name: str) -> list[Path]:
    """What was written when the data were added, if they were."""
    if name in COLLECTIONS and _available(name):
        places = [find_collection(COLLECTIONS[name])[0] / _COLLECTION_MANIFEST]
    else:
        kept = cache_dir() / "data" / name if name in _ADDERS else added_folder(name)
        places = [kept / _COLLECTION_MANIFEST, kept / _MANIFEST] if kept else []
    return [place for place in places if place.is_file()]


def _copy_classes(source: Path, target: Path) -> None:
    for entry in list_classes(source):
        place = target / entry.split / entry.name
        place.mkdir(parents=True, exist_ok=True)
        for file in entry.files:
            read_image(file, None, "RGB")
            # with its times: the store's key is made of names, sizes and times
            shutil.copy2(file, place / file.name)


def _write_manifest(path: Path, source: Path) -> None:
    folder = path.parent
    files = {p.relative_to(folder).as_posix(): _hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {"format": _FORMAT, "from": str(source.resolve()), "files": files}
    path.write_text(json.dumps(manifest, indent=0), encoding="utf-8")


def _manifest_problems(place: Path) -> list[str]:
    folder = place.parent
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
        version, files = int(manifest["format"]), dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{place} is damaged: add the data again"]
    if version > _FORMAT:
        return [f"{place} was written by a newer metacortex: update metacortex"]
    problems = []
    for relative, digest in files.items():
        path = folder / relative
        if not path.is_file():
            problems.append(f"{path} is missing: add the data again")
        elif _hash(path) != digest:
            problems.append(f"{path} has changed since it was added: add the data again")
    return problems


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split_facts(counts: np.ndarray) -> dict[str, int]:
    return {
        "classes": len(counts),
        "images": int(counts.sum()),
        "least": int(counts.min(initial=np.iinfo(np.int64).max)) if len(counts) else 0,
        "most": int(counts.max(initial=0)),
    }


def _split_problems(data: Dataset) -> list[str]:
    problems, seen = [], {}
    for split, view in data.splits.items():
        for index in np.unique(view.index).tolist():
            if index in seen:
                problems.append(f"class '{data.store.classes[index].name}' is in {seen[index]} and {split}")
            seen[index] = split
    return problems


def _notes(store: ClassStore) -> list[str]:
    blank, seen = 0, set()
    for number in range(len(store)):  # class by class: the whole may be larger than the memory
        flat = np.ascontiguousarray(store.of_class(number)).reshape(int(store.counts()[number]), -1)  # [N, D]
        blank += int((flat == flat[:, :1]).all(axis=1).sum())
        seen |= {hashlib.sha256(row.data).digest() for row in flat}
    repeated = len(store.examples) - len(seen)
    notes = [f"{blank} images are blank"] if blank else []
    return notes + ([f"{repeated} images repeat another one"] if repeated else [])
