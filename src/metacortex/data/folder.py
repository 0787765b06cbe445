"""A folder of class folders as a data set: one sub-folder of images for each class."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from metacortex.data.dataset import SPLITS, Dataset, parse_rotations, square
from metacortex.data.images import read_image
from metacortex.data.locations import stores_dir
from metacortex.data.store import FORMAT, ClassInfo, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import DataError

__all__ = ["ClassFolder", "list_classes", "load_folder"]

_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}
_FEWEST = 5
"""Classes that each split must get before a folder is split at random."""


@dataclass(frozen=True)
class ClassFolder:
    """One class: its name, the split its folder lies in (``""`` for none) and its files, sorted."""

    name: str
    split: str
    files: tuple[Path, ...]


def load_folder(
    path: str | Path,
    *,
    size: int | Sequence[int] = 28,
    mode: Literal["L", "RGB"] = "L",
    invert: bool | Literal["auto"] = False,
    rotations: str | Sequence[str] | None = None,
    fractions: Sequence[float] | None = (0.6, 0.2, 0.2),
    seed: int = 0,
    at_least: int = 1,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Images of any size and mode, in one folder per class.

    When all sub-folders are called ``train``, ``val`` or ``test``, they hold the class folders of the
    splits. Otherwise classes are dealt to the splits at random by `seed` if each gets at least five,
    and if not, all of them are ``test``. The store is built once in the cache, and again when a file's
    name, size or time has changed.

    Args:
        path: the folder. Hidden files are ignored; a file of a class that is no image is an error.
        size: pixels, or (height, width), to which images are stretched.
        mode: ``"L"`` (grey) or ``"RGB"``.
        invert: exchange dark and light: ``True``, ``False``, or ``"auto"`` for images with a light border,
            so that ink on paper looks like the bright ink of glyphs and omniglot.
        rotations: splits whose classes also come rotated by 90, 180 and 270 degrees as classes of their own.
        fractions: shares of train, val and test in a random split; ``None`` leaves everything in ``test``.
        seed: of the random split.
        at_least: images that every class must have.
        name: name of the data set; the folder's when not given.
        progress: called with (classes done, classes in all) when the store has to be built.

    Raises:
        DataError: if the folder is missing, empty or unreadable, a class has too few images, or a file
            is no image.
        SettingsError: for an unknown split.
    """
    folder, shape, turned = Path(path).expanduser(), square(size), parse_rotations(rotations)
    classes = list_classes(folder, at_least=at_least)
    title = name or folder.resolve().name
    settings = [FORMAT, *shape, mode, invert]
    store_path = stores_dir() / f"folder-{_listing_hash(folder, classes, settings)}"
    channels = 1 if mode == "L" else 3

    def images(files: Sequence[Path]) -> Iterator[np.ndarray]:
        for file in files:
            yield read_image(file, shape, mode, invert=invert)

    store = open_or_build(
        store_path,
        lambda: build_store(
            store_path,
            title,
            (channels, *shape),
            [(ClassInfo(c.name, len(c.files), {"split": c.split}), images(c.files)) for c in classes],
            progress=progress,
        ),
    )
    number = {info.name: i for i, info in enumerate(store.classes)}
    views: dict[str, ClassView] = {}
    dealt, how = _deal(classes, fractions, seed)
    for split, members in dealt.items():
        view = ClassView.of(store, sorted(number[m] for m in members))
        views[split] = view.with_rotations() if split in turned else view
    counts = ", ".join(f"{split} {len(members)}" for split, members in dealt.items())
    rotated = f", {' and '.join(turned)} rotated" if turned else ""
    text = f"{how} (classes: {counts}){rotated}, {mode} {shape[0]}x{shape[1]}"
    return Dataset(title, text, store, views, provenance={"source": str(folder.resolve())})


def list_classes(folder: Path, *, at_least: int = 1) -> list[ClassFolder]:
    """The classes of a folder, sorted by name; no image is opened.

    Raises:
        DataError: if the folder is missing, empty or unreadable, a class has too few files or folders
            in it, or one class is in two splits.
    """
    inside = _visible(folder)
    folders = [p for p in inside if p.is_dir()]
    if not folders:
        what = "only files" if inside else "nothing"
        raise DataError(
            f"{folder} holds {what}: expected one sub-folder per class, with the images of the class in it "
            f"(e.g. {folder / 'cat' / '1.png'})"
        )
    if all(p.name in SPLITS for p in folders) and any(q.is_dir() for p in folders for q in _visible(p)):
        found = [_class(c, p.name, at_least) for p in folders for c in _visible(p) if c.is_dir()]
    else:
        found = [_class(c, "", at_least) for c in folders]
    found.sort(key=lambda c: c.name)
    for one, other in itertools.pairwise(found):
        if one.name == other.name:
            raise DataError(
                f"{folder}: class '{one.name}' is in both {one.split} and {other.split}: splits for meta-learning "
                f"hold different classes; load one of them alone, e.g. {folder / one.split}"
            )
    return found


def _class(folder: Path, split: str, at_least: int) -> ClassFolder:
    files = _visible(folder)
    nested = [f for f in files if f.is_dir()]
    if nested:
        raise DataError(f"{nested[0]} is a folder inside the class folder {folder}: expected images only")
    if len(files) < max(at_least, 1):
        raise DataError(
            f"class '{folder.name}' ({folder}) has {len(files)} images, needs at least {max(at_least, 1)}: "
            "add images or remove the folder"
        )
    return ClassFolder(folder.name, split, tuple(files))


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in _JUNK)
    except FileNotFoundError:
        raise DataError(f"{folder}: there is no such folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file, expected a folder with one sub-folder of images per class") from None
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def _listing_hash(folder: Path, classes: Sequence[ClassFolder], settings: Sequence[object]) -> str:
    # the place is part of the key: two folders may agree in names, sizes and times and still differ
    digest = hashlib.sha256(json.dumps([str(folder.resolve()), *settings]).encode())
    for entry in classes:
        for file in entry.files:
            try:
                state = file.stat()
            except OSError as error:
                raise DataError(f"cannot read {file}: {error.strerror or error}") from None
            digest.update(json.dumps([entry.split, entry.name, file.name, state.st_size, state.st_mtime_ns]).encode())
    return digest.hexdigest()[:16]


def _deal(
    classes: Sequence[ClassFolder], fractions: Sequence[float] | None, seed: int
) -> tuple[dict[str, list[str]], str]:
    """Class names of each split, and how they came there."""
    if any(c.split for c in classes):
        return {s: names for s in SPLITS if (names := [c.name for c in classes if c.split == s])}, "split by folder"
    names = [c.name for c in classes]
    if fractions is None:
        return {"test": names}, "not split"
    shares = list(fractions)
    if len(shares) != 3 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
        raise DataError(f"fractions must be three shares of train, val and test that sum to 1, got {fractions!r}")
    train = round(len(names) * shares[0])
    sizes = [train, round(len(names) * (shares[0] + shares[1])) - train]
    sizes.append(len(names) - sum(sizes))
    if any(n < _FEWEST for n, share in zip(sizes, shares, strict=True) if share > 0):
        return {"test": names}, "not split (too few classes)"
    # a hash instead of a generator: the same on every machine and in every version of numpy
    names.sort(key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())
    ends = [0, sizes[0], sizes[0] + sizes[1], len(names)]
    parts = {s: sorted(names[a:b]) for s, a, b in zip(SPLITS, ends, ends[1:], strict=False) if b > a}
    return parts, f"random split, seed {seed}"
