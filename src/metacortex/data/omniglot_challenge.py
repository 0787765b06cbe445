"""The one-shot classification challenge of Omniglot: 20 runs of 20-way 1-shot, each within an alphabet.

Reference: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350 (2015); "The Omniglot challenge: a 3-year progress report" (2019).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from metacortex.data.archives import open_zip, read_entry, safe_entries
from metacortex.data.dataset import Dataset, square
from metacortex.data.locations import data_roots, stores_dir
from metacortex.data.omniglot import PROVENANCE, ink_of
from metacortex.data.store import FORMAT, ClassInfo, ClassStore, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import DataError

__all__ = ["RUNS", "WAY", "find_runs", "load_omniglot_challenge"]

RUNS, WAY = 20, 20
"""Runs of the challenge, and characters of each."""

_ARCHIVE = "all_runs.zip"
_PAIR = re.compile(r"run(\d\d)/test/(item\d\d\.png) run\1/training/(class\d\d\.png)")


def load_omniglot_challenge(*, size: int = 28, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The 20 runs as a ``test`` split of given tasks: one drawing of each character to learn, another to name.

    In a run the drawings to learn are by one person and those to name by another; all characters are of one
    alphabet of the evaluation set. To be met by learners that were trained on the background set, ``--data omniglot``
    with one of the protocols ``background``, ``small1`` and ``small2``. The field reports the error, 100 % minus the
    accuracy.

    Args:
        size: pixels on a side (105 in the source), resized as `metacortex.data.omniglot.load_omniglot` does.
        progress: called with (characters done, characters in all) when the store has to be built.

    Raises:
        DataError: if the archive is not found or not the official content.
    """
    square(size)
    archive = find_runs()
    info = archive.stat()
    key = f"{FORMAT}|{size}|{info.st_size} {info.st_mtime_ns}"
    path = stores_dir() / f"omniglot_challenge-{size}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    store = open_or_build(path, lambda: _build(path, archive, size, progress))
    text = f"{RUNS} one-shot runs within alphabets, {size}x{size}"
    view = ClassView.of(store, group_by="run")
    provenance = {
        **PROVENANCE,
        "source": "https://github.com/brendenlake/omniglot (all_runs.zip)",
        "folder": str(archive.parent),
    }
    return Dataset(
        "omniglot_challenge", text, store, {"test": view}, within_group=True, given=True, provenance=provenance
    )


def find_runs() -> Path:
    """``all_runs.zip`` in the first folder ``omniglot`` of the data roots that has it.

    Raises:
        DataError: saying what to put where.
    """
    places = [root / "omniglot" / _ARCHIVE for root in data_roots()]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"the runs of the omniglot challenge are not on this machine (looked for {', '.join(map(str, places))}): "
        f"run: metacortex data fetch omniglot; or get {_ARCHIVE} from https://github.com/brendenlake/omniglot "
        "(python/one-shot-classification) and put it there"
    )


def _build(path: Path, file: Path, size: int, progress: Callable[[int, int], None] | None) -> ClassStore:
    with open_zip(file) as archive:
        entries = {info.filename: info for info in safe_entries(archive)}
        classes = [c for run in range(1, RUNS + 1) for c in _characters(archive, entries, run, size)]
        return build_store(path, "omniglot_challenge", (1, size, size), classes, progress=progress)


def _characters(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], run: int, size: int
) -> list[tuple[ClassInfo, Iterable[np.ndarray]]]:
    """The characters of a run, each with the drawing to learn and the one to name."""
    folder = f"run{run:02d}"
    labels = entries.get(f"{folder}/class_labels.txt")
    lines = [] if labels is None else read_entry(archive, labels).decode("ascii", "replace").split("\n")
    found = [_PAIR.fullmatch(line.strip()) for line in lines if line.strip()]
    pairs = {pair[3]: pair[2] for pair in found if pair is not None and int(pair[1]) == run}
    if len(pairs) != WAY or len(set(pairs.values())) != WAY or len(found) != WAY:
        raise DataError(
            f"{archive.filename}: expected {WAY} pairs in {folder}/class_labels.txt, got {len(pairs)}: "
            "download it again"
        )

    def drawings(shown: str, asked: str) -> Iterable[np.ndarray]:
        for name in (f"{folder}/training/{shown}", f"{folder}/test/{asked}"):
            if name not in entries:
                raise DataError(f"{archive.filename}: {name} is missing: download it again")
            yield ink_of(io.BytesIO(read_entry(archive, entries[name])), size, f"{archive.filename}/{name}")

    return [
        (ClassInfo(f"{folder}/{shown.removesuffix('.png')}", 2, {"run": folder}), drawings(shown, asked))
        for shown, asked in sorted(pairs.items())
    ]
