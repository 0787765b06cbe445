"""Corpora by name: which there are, how each is loaded, and how a user adds one."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from metacortex.cache import cache_dir
from metacortex.data.atomic import discard, new_folder
from metacortex.data.calling import call_loader
from metacortex.data.text.aligned import load_aligned
from metacortex.data.text.corpus import Corpus, Pair, parse_pairs
from metacortex.data.text.corpus_file import open_corpus, save_corpus
from metacortex.data.text.multi30k import add_multi30k
from metacortex.errors import DataError, unknown_name

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "add_corpus",
    "added_corpus",
    "corpus_names",
    "find_corpus_loader",
    "load_corpus",
]

BUILT_IN = {
    "multi30k": "metacortex.data.text.multi30k:load_multi30k",
    "phrasebook": "metacortex.data.text.phrasebook:load_phrasebook",
}
"""The corpora of this package: module and function, imported when asked for."""

ENTRY_POINTS = "metacortex.corpora"
"""Group of entry points by which other packages add functions ``(**options) -> Corpus``."""

_FILE = "corpus.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def corpus_names() -> list[str]:
    """Sorted names that `load_corpus` knows: built in, from other packages, and added by the user."""
    kept = cache_dir() / "data"
    added = [p.parent.name for p in kept.glob(f"*/{_FILE}")] if kept.is_dir() else []
    return sorted({*BUILT_IN, *entry_points(group=ENTRY_POINTS).names, *added})


def load_corpus(name: str, **options: Any) -> Corpus:
    """Load a corpus.

    Args:
        name: a name of `corpus_names`, the path of a folder of aligned files or of a table, or ``folder:PATH``.
        options: of the source, e.g. ``held_out="cs-fr"``, ``train=10000``, ``test="test_2017_flickr"``.

    Raises:
        SettingsError: for a name or option that does not exist, naming the nearest that does.
        DataError: if the data are missing or broken.
        MissingExtraError: if the source needs an extra that is not installed.
    """
    loader, fixed = find_corpus_loader(name)
    return call_loader(f"corpus {name}", loader, fixed, options)


def find_corpus_loader(name: str) -> tuple[Callable[..., Corpus], dict[str, Any]]:
    """The function that loads a corpus, and the arguments that its name stands for.

    Raises:
        SettingsError: for an unknown name.
        DataError: for a path where nothing is.
    """
    if name in BUILT_IN:
        module, _, function = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), function), {}
    if name.startswith("folder:"):
        return load_aligned, {"path": Path(name.removeprefix("folder:")).expanduser()}
    kept = added_corpus(name)
    if kept is not None:
        return _load_added, {"path": kept}
    others = entry_points(group=ENTRY_POINTS)
    if name in others.names:
        return others[name].load(), {}
    path = Path(name).expanduser()
    if path.exists():
        return load_aligned, {"path": path}
    if os.sep in name or name.startswith((".", "~")):
        raise DataError(f"{path}: there is no such folder or table")
    raise unknown_name("corpus", name, [*corpus_names(), "folder:PATH"])


def added_corpus(name: str) -> Path | None:
    """The file of the corpus that the user added under this name; ``None`` if there is none."""
    place = cache_dir() / "data" / name / _FILE
    return place if _NAME.fullmatch(name) and place.is_file() else None


def add_corpus(name: str, path: str | Path, *, replace: bool = False) -> Path:
    """Copy a corpus into the cache under a name, after reading every line of it.

    Args:
        name: ``"multi30k"``, for a folder with its files (see `metacortex.data.text.multi30k.add_multi30k`); or a new
            name, for a folder or table of aligned text (see `metacortex.data.text.aligned.load_aligned`).
        path: where the text is now.
        replace: whether what was added under the same name before may go.

    Returns:
        The folder of the copy.

    Raises:
        DataError: if the text is missing or broken, the name cannot be used or is taken, or the disk is full.
            Nothing half-copied is left.
    """
    source = Path(path).expanduser()
    if not _NAME.fullmatch(name) or name in ("folder", "phrasebook", *entry_points(group=ENTRY_POINTS).names):
        raise DataError(f"cannot name text {name!r}: use small letters, digits, '-' and '_', and no name that is taken")
    target = cache_dir() / "data" / name
    if target.exists() and not replace:
        raise DataError(f"'{name}' was added before ({target}): replace it with replace=True (--replace)")
    with new_folder(target) as temporary:
        if name == "multi30k":
            add_multi30k(source, temporary)
        else:
            save_corpus(load_aligned(source, name=name), temporary / _FILE)
        if replace and target.exists():
            discard(target)
    return target


def _load_added(path: Path, *, held_out: str | Sequence[Pair] = (), train: int | None = None) -> Corpus:
    corpus = open_corpus(path)
    corpus = replace(corpus, held_out_pairs=parse_pairs(held_out, corpus.languages))
    return corpus if train is None else corpus.limited(train)
