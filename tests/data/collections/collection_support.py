"""Tiny collections: pictures that differ in every pixel, and files that hold them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metacortex.data.collections import catalogue
from metacortex.data.collections.base import Collection

SPLITS = ("train", "val", "test")
Pictures = Mapping[str, Mapping[str, np.ndarray]]
"""Split -> class -> pictures ``[n, h, w, 3]`` (or rows ``[n, d]``)."""


def pictures(names: Mapping[str, list[str]], each: int = 3, side: int = 12) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return {
        split: {n: rng.integers(0, 256, (each, side, side, 3), dtype=np.uint8) for n in members}
        for split, members in names.items()
    }


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def shrink(patch: pytest.MonkeyPatch, module: object, name: str, **changes: object) -> Collection:
    """Replace a collection of a module by one that expects something else."""
    small = replace(getattr(module, name), **changes)
    patch.setattr(module, name, small)
    patch.setitem(catalogue.COLLECTIONS, small.name, small)
    return small


def write_zips(folder: Path, data: Pictures) -> None:
    for split, classes in data.items():
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for name, images in classes.items():
                for i, image in enumerate(images):
                    archive.writestr(f"{name}/{name}{i:04}.png", png(image))


def write_folders(folder: Path, data: Pictures) -> None:
    for split, classes in data.items():
        for name, images in classes.items():
            place = folder / split / name
            place.mkdir(parents=True)
            for i, image in enumerate(images):
                (place / f"{i:04}.png").write_bytes(png(image))


def write_listed(folder: Path, data: Pictures) -> None:
    (folder / "images").mkdir()
    for split, classes in data.items():
        lines = ["filename,label"]
        for name, images in classes.items():
            for i, image in enumerate(images):
                (folder / "images" / f"{name}{i:04}.png").write_bytes(png(image))
                lines.append(f"{name}{i:04}.png,{name}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def write_hdf5(folder: Path, data: Pictures, *, encoded: bool = False) -> None:
    """As torchmeta does it: plain arrays, or PNG files as rows of bytes."""
    h5py = pytest.importorskip("h5py")
    for split, classes in data.items():
        (folder / f"{split}_labels.json").write_text(json.dumps(list(classes)))
        with h5py.File(folder / f"{split}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for name, items in classes.items():
                if not encoded:
                    group.create_dataset(name, data=items)
                    continue
                rows = group.create_dataset(name, (len(items),), dtype=h5py.special_dtype(vlen=np.uint8))
                for i, picture in enumerate(items):
                    rows[i] = np.frombuffer(png(picture), np.uint8)
