"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each.

Reference: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 350 (2015). MIT licence, copyright 2015 Brenden Lake.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from metacortex.data.archives import open_zip, read_entry, safe_entries
from metacortex.data.dataset import Dataset, parse_rotations, square
from metacortex.data.images import read_image
from metacortex.data.locations import data_roots, stores_dir
from metacortex.data.omniglot_lists import DRAWINGS, PROTOCOLS, Lists, load_lists, protocol_splits
from metacortex.data.store import FORMAT, ClassInfo, ClassStore, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import DataError

__all__ = ["PROVENANCE", "add_omniglot", "find_omniglot", "ink_of", "load_omniglot"]

_PARTS = ("background", "evaluation")
_SIDE = 105
PROVENANCE = {
    "source": "https://github.com/brendenlake/omniglot (images_background.zip, images_evaluation.zip)",
    "licence": "MIT, copyright 2015 Brenden Lake",
    "reference": "Lake, Salakhutdinov and Tenenbaum (2015), Science 350(6266), 1332-1338",
}
"""Where the drawings come from."""


def load_omniglot(
    *,
    size: int = 28,
    protocol: str = "vinyals",
    rotations: str | Sequence[str] | None = ("train",),
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Omniglot under one of its protocols; ink is 255 on 0.

    Args:
        size: pixels on a side (105 in the source), resized with antialiasing.
        protocol: ``"vinyals"``, ``"random1200"``, ``"within"``, ``"background"``, ``"small1"`` or ``"small2"``;
            see `metacortex.data.omniglot_lists.protocol_splits`. The last four draw tasks within an alphabet.
        rotations: splits whose characters also come rotated by 90, 180 and 270 degrees as classes of their
            own: ``"train"``, ``"val"``, ``"test"``, several with commas, ``"all"`` or ``"none"``.
        progress: called with (characters done, characters in all) when the store has to be built.

    Raises:
        DataError: if the archives are not found or not the official content.
        SettingsError: for an unknown protocol or split.
    """
    lists, turned = load_lists(), parse_rotations(rotations)
    names = protocol_splits(protocol, lists)
    square(size)
    folder = find_omniglot()
    key = [str(FORMAT), str(size)] + [_state(folder / f"images_{part}.zip") for part in _PARTS]
    path = stores_dir() / f"omniglot-{size}-{hashlib.sha256('|'.join(key).encode()).hexdigest()[:12]}"
    store = open_or_build(path, lambda: _build(path, folder, size, lists, progress))
    within = protocol not in ("vinyals", "random1200")
    number = {info.name: i for i, info in enumerate(store.classes)}
    splits = {}
    for split, members in names.items():
        view = ClassView.of(store, [number[m] for m in members], group_by="alphabet" if within else None)
        splits[split] = view.with_rotations() if split in turned else view
    counts = "/".join(str(len(members)) for members in names.values())
    shown = f"{' and '.join(turned)} rotated" if turned else "no rotations"
    text = f"{PROTOCOLS[protocol]} ({counts} characters), {shown}, {size}x{size}"
    return Dataset("omniglot", text, store, splits, within, {**PROVENANCE, "folder": str(folder), "protocol": protocol})


def find_omniglot() -> Path:
    """The first folder ``omniglot`` of the data roots that holds both archives.

    Raises:
        DataError: saying what to put where.
    """
    places = [root / "omniglot" for root in data_roots()]
    for place in places:
        if all((place / f"images_{part}.zip").is_file() for part in _PARTS):
            return place
    raise DataError(
        "omniglot is not on this machine (looked in "
        + ", ".join(map(str, places))
        + "): run: metacortex data fetch omniglot; or get images_background.zip and images_evaluation.zip from "
        "https://github.com/brendenlake/omniglot and run: metacortex data add omniglot --from FOLDER"
    )


def add_omniglot(source: Path, target: Path) -> None:
    """Copy the two archives into a folder, after reading every image of them, and ``all_runs.zip`` if it is there.

    Args:
        source: a folder with the zip archives, or with the extracted folders ``images_background`` and
            ``images_evaluation``.
        target: an existing folder to fill.

    Raises:
        DataError: if something is missing, damaged or not the official content.
    """
    lists = load_lists()
    for part in _PARTS:
        archive, extracted = source / f"images_{part}.zip", source / f"images_{part}"
        copy = target / archive.name
        if archive.is_file():
            shutil.copyfile(archive, copy)
        elif extracted.is_dir():
            _pack(extracted, copy)
        else:
            raise DataError(
                f"{source} holds neither {archive.name} nor a folder {extracted.name}: "
                "name the folder that has both parts of omniglot, as archives or extracted"
            )
        with open_zip(copy) as checked:
            for _, drawings in _characters(checked, part, lists, _SIDE):
                for _ in drawings:
                    pass
    for extra in source.glob("all_runs.zip"):
        shutil.copyfile(extra, target / extra.name)


def _state(path: Path) -> str:
    info = path.stat()
    return f"{path.name} {info.st_size} {info.st_mtime_ns}"


def _pack(folder: Path, target: Path) -> None:
    # dates are left out, so that the same content gives the same archive
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*.png")):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())


def _build(
    path: Path, folder: Path, size: int, lists: Lists, progress: Callable[[int, int], None] | None
) -> ClassStore:
    with ExitStack() as stack:
        classes: list[tuple[ClassInfo, Iterable[np.ndarray]]] = []
        for part in _PARTS:
            archive = stack.enter_context(open_zip(folder / f"images_{part}.zip"))
            classes += _characters(archive, part, lists, size)
        return build_store(path, "omniglot", (1, size, size), classes, progress=progress)


def _characters(
    archive: zipfile.ZipFile, part: str, lists: Lists, size: int
) -> list[tuple[ClassInfo, Iterable[np.ndarray]]]:
    """The characters of an archive with their drawings, which are read when asked for."""
    found: dict[str, list[zipfile.ZipInfo]] = {}
    for info in safe_entries(archive):
        parts = info.filename.split("/")  # images_background/Alphabet/characterNN/0001_01.png
        if len(parts) == 4 and parts[3].endswith(".png") and not parts[3].startswith("."):
            found.setdefault(f"{parts[1]}/{parts[2]}", []).append(info)
    expected = lists.characters(part)
    if sorted(found) != expected:
        odd = min(set(found) ^ set(expected))
        raise DataError(
            f"{archive.filename}: expected the {len(expected)} characters of the official archive, got "
            f"{len(found)} (first difference: {odd}): copy or download it again"
        )
    for name, infos in found.items():
        if len(infos) != DRAWINGS:
            raise DataError(
                f"{archive.filename}: {name} has {len(infos)} drawings, needs {DRAWINGS}: copy or download it again"
            )
    return [
        (
            ClassInfo(name, DRAWINGS, {"alphabet": name.split("/")[0], "part": part}),
            _drawings(archive, found[name], size),
        )
        for name in expected
    ]


def _drawings(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], size: int) -> Iterator[np.ndarray]:
    for info in infos:
        yield ink_of(io.BytesIO(read_entry(archive, info)), size, f"{archive.filename}/{info.filename}")


def ink_of(file: IO[bytes], size: int, name: str) -> np.ndarray:
    """A drawing ``[1, size, size]`` uint8, ink 255 on 0, resized with antialiasing.

    Args:
        file: the picture, dark on white.
        size: pixels on a side.
        name: what to call it in errors.

    Raises:
        DataError: for what is no drawing of 105 by 105 pixels.
    """
    paper = read_image(file, None, "L", name=name)
    if paper.shape != (1, _SIDE, _SIDE):
        raise DataError(f"{name}: expected {_SIDE}x{_SIDE} pixels, got {paper.shape[2]}x{paper.shape[1]}")
    ink = Image.fromarray(255 - paper[0]).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(ink)[None]
