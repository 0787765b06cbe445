"""Stores: all examples of a data set in one memory-mapped array, sorted by class.

A store is a folder of two files: ``store.json`` (format, shape, classes, fingerprint) and
``examples.bin`` (the examples one after the other, no header). Drawing an episode is then an index
gather; nothing is decoded again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metacortex.data.atomic import discard, new_folder, sync
from metacortex.errors import DataError

__all__ = ["FORMAT", "ClassInfo", "ClassStore", "build_store", "open_or_build"]

FORMAT = 1
"""Version of the folder's layout; a newer one is refused."""

_DTYPES = ("uint8", "float32")


@dataclass(frozen=True)
class ClassInfo:
    """What is known of a class.

    Attributes:
        name: unique in its store, e.g. ``"Arabic/character07"``.
        count: number of examples.
        meta: anything else, e.g. ``{"alphabet": "Arabic"}``.
    """

    name: str
    count: int = 0
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ClassStore:
    """Examples sorted by class; read-only.

    Attributes:
        name: name of the source.
        shape: shape of one example: ``(C, H, W)`` for images (uint8), ``(D,)`` for rows of a table (float32).
        examples: ``[N, *shape]``, memory-mapped when the store lies on disk.
        offsets: ``[classes + 1]`` int64; class *c* is ``examples[offsets[c]:offsets[c + 1]]``.
        classes: one `ClassInfo` per class.
        fingerprint: SHA-256 over shape, dtype, classes and examples: equal if and only if the content is.
        path: the folder, or ``None`` for a store in memory.
    """

    name: str
    shape: tuple[int, ...]
    examples: np.ndarray
    offsets: np.ndarray
    classes: tuple[ClassInfo, ...]
    fingerprint: str
    path: Path | None = None

    def __repr__(self) -> str:
        where = "" if self.path is None else f" in {self.path}"
        counts = f"{len(self)} classes, {len(self.examples)} examples of shape {self.shape}"
        return f"<ClassStore {self.name}: {counts}{where}>"

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def __reduce__(self) -> Any:
        # a store on disk travels to other processes as its path, not as a copy of its content
        return super().__reduce__() if self.path is None else (ClassStore.open, (self.path,))

    def counts(self) -> np.ndarray:
        """``[classes]`` int64: number of examples of each class."""
        return np.diff(self.offsets)

    def of_class(self, index: int) -> np.ndarray:
        """``[count, *shape]``: the examples of a class (a view, nothing is copied).

        Raises:
            DataError: for an index outside ``0 .. classes-1``.
        """
        if not 0 <= index < len(self.classes):
            raise DataError(f"store '{self.name}' has classes 0..{len(self.classes) - 1}, got index {index}")
        return self.examples[self.offsets[index] : self.offsets[index + 1]]

    def verify(self) -> None:
        """Read every example and compare with the fingerprint.

        Raises:
            DataError: if a single byte differs.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.examples).data).hexdigest()
        if _fingerprint(self.shape, self.examples.dtype.name, self.classes, digest) != self.fingerprint:
            raise _damaged(self.path or Path(self.name), "the examples do not match the fingerprint")

    @staticmethod
    def open(path: str | Path) -> ClassStore:
        """Open a store folder without reading its examples.

        Raises:
            DataError: if it is missing, damaged or of a newer format.
        """
        folder = Path(path)
        head = _read_head(folder)
        try:
            shape = tuple(int(n) for n in head["shape"])
            classes = tuple(ClassInfo(str(n), int(count), dict(meta)) for n, count, meta in head["classes"])
            dtype, digest, name = str(head["dtype"]), str(head["examples"]), str(head["name"])
            fingerprint = str(head["fingerprint"])
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(folder, f"store.json lacks or garbles {error}") from None
        if dtype not in _DTYPES or _fingerprint(shape, dtype, classes, digest) != fingerprint:
            raise _damaged(folder, "store.json does not match its own fingerprint")
        offsets = _offsets(classes)
        return ClassStore(
            name, shape, _map(folder, dtype, (int(offsets[-1]), *shape)), offsets, classes, fingerprint, folder
        )

    @staticmethod
    def from_arrays(
        examples: np.ndarray,
        labels: Sequence[Any] | np.ndarray,
        names: Sequence[str] | None = None,
        *,
        name: str = "arrays",
        meta: Sequence[Mapping[str, str]] | None = None,
    ) -> ClassStore:
        """Make a store in memory; see `metacortex.data.arrays.from_arrays` for arrays of any dtype and layout.

        Args:
            examples: ``[N, C, H, W]`` uint8 or ``[N, D]`` float32, in any order.
            labels: ``[N]`` of one sortable type; classes come in the order of the sorted labels.
            names: name of each class in that order; the labels themselves when not given.
            name: name of the store.
            meta: meta-data of each class in that order.

        Raises:
            DataError: if lengths, dtypes or names do not fit.
        """
        data, marks = np.asarray(examples), np.asarray(labels)
        if data.dtype.name not in _DTYPES or data.ndim < 2:
            raise DataError(
                f"expected examples [N, ...] of dtype uint8 or float32, got {list(data.shape)} {data.dtype}"
            )
        if marks.ndim != 1 or len(marks) != len(data) or not len(data):
            raise DataError(f"expected one label per example, got {len(data)} examples and labels {list(marks.shape)}")
        unique, slots, counts = np.unique(marks, return_inverse=True, return_counts=True)
        titles = [str(u) for u in unique] if names is None else [str(n) for n in names]
        if len(titles) != len(unique) or len(set(titles)) != len(titles):
            raise DataError(f"expected {len(unique)} different class names, got {len(titles)}: {titles[:5]} …")
        metas = [{}] * len(titles) if meta is None else list(meta)
        infos = tuple(ClassInfo(t, int(c), dict(m)) for t, c, m in zip(titles, counts, metas, strict=True))
        data = np.ascontiguousarray(data[np.argsort(slots, kind="stable")])
        data.flags.writeable = False
        digest = hashlib.sha256(data.data).hexdigest()
        shape = tuple(int(n) for n in data.shape[1:])
        return ClassStore(
            name, shape, data, _offsets(infos), infos, _fingerprint(shape, data.dtype.name, infos, digest)
        )


def build_store(
    path: str | Path,
    name: str,
    shape: Sequence[int],
    classes: Iterable[tuple[ClassInfo | str, Iterable[np.ndarray]]],
    *,
    dtype: str = "uint8",
    progress: Callable[[int, int], None] | None = None,
) -> ClassStore:
    """Write a store, class by class in the order of the names, and open it.

    The folder appears whole or not at all. Two processes may build the same one at once: the first
    to finish wins and both use its store.

    Args:
        path: the folder to make.
        name: name of the source.
        shape: shape of one example.
        classes: pairs of a class (its name, or a `ClassInfo`, whose count is checked where it is not 0)
            and its examples, which are only read when it is the class's turn.
        dtype: ``"uint8"`` or ``"float32"``.
        progress: called with (classes done, classes in all).

    Raises:
        DataError: for no class, an empty class, two classes of one name, an example of another shape or
            dtype, or a disk that is full.
    """
    folder, want = Path(path), tuple(int(n) for n in shape)
    if dtype not in _DTYPES:
        raise DataError(f"a store holds {' or '.join(_DTYPES)}, got {dtype}")
    parts = [(c if isinstance(c, ClassInfo) else ClassInfo(c), items) for c, items in classes]
    parts.sort(key=lambda part: part[0].name)
    twice = [a[0].name for a, b in itertools.pairwise(parts) if a[0].name == b[0].name]
    if not parts or twice:
        raise DataError(
            f"store '{name}': " + (f"class '{twice[0]}' comes twice" if twice else "there is no class in it")
        )
    with new_folder(folder) as temporary:
        digest, done = hashlib.sha256(), []
        with open(temporary / "examples.bin", "wb") as file:
            for info, items in parts:
                count = 0
                for item in items:
                    if item.shape != want or item.dtype != dtype:
                        raise DataError(
                            f"store '{name}', class '{info.name}', example {count}: expected {want} {dtype}, "
                            f"got {item.shape} {item.dtype}"
                        )
                    data = item.tobytes()
                    digest.update(data)
                    file.write(data)
                    count += 1
                if count == 0 or info.count not in (0, count):
                    needs = info.count or "at least 1"
                    raise DataError(f"store '{name}', class '{info.name}': has {count} examples, needs {needs}")
                done.append(ClassInfo(info.name, count, dict(info.meta)))
                if progress is not None:
                    progress(len(done), len(parts))
        _write_head(temporary, name, want, dtype, done, digest.hexdigest())
    return ClassStore.open(folder)


def open_or_build(path: str | Path, build: Callable[[], ClassStore]) -> ClassStore:
    """Open a store of the cache; build it where it is missing, build it anew where it is damaged.

    Raises:
        DataError: as `build` does, or when the store was written by a newer program.
    """
    folder = Path(path)
    if not folder.exists():
        return build()
    try:
        return ClassStore.open(folder)
    except _DamagedStore:
        discard(folder)
        return build()


class _DamagedStore(DataError):
    """A store that must be built again (a newer format is not this)."""


def _damaged(folder: Path, fact: str) -> DataError:
    return _DamagedStore(f"the store {folder} is damaged: {fact}: delete the folder and it will be built again")


def _offsets(classes: Sequence[ClassInfo]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([c.count for c in classes], dtype=np.int64)]).astype(np.int64)


def _fingerprint(shape: Sequence[int], dtype: str, classes: Sequence[ClassInfo], digest: str) -> str:
    content = [list(shape), dtype, [[c.name, c.count, dict(c.meta)] for c in classes], digest]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_head(
    folder: Path, name: str, shape: Sequence[int], dtype: str, classes: Sequence[ClassInfo], digest: str
) -> None:
    head = {
        "format": FORMAT,
        "name": name,
        "shape": list(shape),
        "dtype": dtype,
        "examples": digest,
        "fingerprint": _fingerprint(shape, dtype, classes, digest),
        "classes": [[c.name, c.count, dict(c.meta)] for c in classes],
    }
    (folder / "store.json").write_text(json.dumps(head, indent=0), encoding="utf-8")
    sync(folder / "examples.bin")
    sync(folder / "store.json")


def _read_head(folder: Path) -> dict[str, Any]:
    try:
        head = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _damaged(folder, "it has no store.json") from None
    except OSError as error:
        raise DataError(f"cannot read the store {folder}: {error.strerror or error}") from None
    except ValueError:
        raise _damaged(folder, "store.json is cut short or not JSON") from None
    version = head.get("format") if isinstance(head, dict) else None
    if not isinstance(version, int):
        raise _damaged(folder, "store.json names no format")
    if version > FORMAT:
        raise DataError(
            f"the store {folder} has format {version}, this program knows {FORMAT}: it was written by a newer "
            "metacortex; update metacortex or choose another METACORTEX_CACHE"
        )
    return head


def _map(folder: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    path, needs = folder / "examples.bin", math.prod(shape) * np.dtype(dtype).itemsize
    has = path.stat().st_size if path.is_file() else 0
    if has != needs or needs == 0:
        raise _damaged(folder, f"examples.bin has {has} bytes, needs {needs}")
    try:
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)
    except OSError as error:
        raise DataError(f"cannot read the store {folder}: {error.strerror or error}") from None
