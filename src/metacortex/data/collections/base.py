"""What the published collections have in common: where they lie, in which layouts, and their store.

A `Collection` names the layouts in which its files are met on people's disks. The first one that is found is
read once, class by class, into a store of the cache; afterwards the store is opened in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metacortex.data.dataset import SPLITS, Dataset, parse_rotations
from metacortex.data.locations import data_roots, stores_dir
from metacortex.data.store import FORMAT, ClassInfo, ClassStore, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import DataError

__all__ = [
    "ClassImages",
    "Collection",
    "Layout",
    "Progress",
    "add_collection",
    "find_collection",
    "home_of",
    "load_collection",
]

ClassImages = tuple[ClassInfo, Iterable[np.ndarray]]
"""A class and its examples, which are read when it is their turn."""

Progress = Callable[[int, int], None]
"""Called with (classes done, classes in all)."""

Reader = Callable[[Path, tuple[int, ...], ExitStack], list[ClassImages]]


@dataclass(frozen=True)
class Layout:
    """One way in which a collection lies on a disk.

    Attributes:
        title: what to call it in messages, e.g. ``"train.zip, val.zip and test.zip"``.
        needs: patterns below the collection's folder; the layout is there when each matches something.
        read: from the folder, the shape wanted of an example and a stack on which open files are put, to the
            classes; a class says its split as ``meta["split"]`` unless the collection knows it.
        home: folder of the cache that `add_collection` fills, where it is not the collection's first.
        extras: patterns of files that are read when they are there.
        counted: whether every class must have as many examples as were published; a cache that another program left
            may hold a part of them.
    """

    title: str
    needs: tuple[str, ...]
    read: Reader
    home: str = ""
    extras: tuple[str, ...] = ()
    counted: bool = True

    def files(self, folder: Path) -> list[Path]:
        """What matches in a folder, sorted; nothing when a pattern matches nothing."""
        found = [sorted(folder.glob(pattern)) for pattern in self.needs]
        if not all(found):
            return []
        return sorted({p for group in found for p in group} | {p for e in self.extras for p in folder.glob(e)})


@dataclass(frozen=True)
class Collection:
    """A published collection of images or rows.

    Attributes:
        name: of the data source.
        folders: names that its folder has below a data root, the first being ours.
        layouts: ways in which its files may lie there, the preferred first.
        expects: for each split the class names, or only their number; any number of classes where a split is
            ``None``.
        origin: where to get it, for the message when it is missing.
        protocol: what the split is called beside a figure.
        provenance: source, licence, reference.
        each: number of examples of every class, 0 for any number.
        colours: 3 for RGB, 1 for grey, 0 for rows of a table.
    """

    name: str
    folders: tuple[str, ...]
    layouts: tuple[Layout, ...]
    expects: Mapping[str, Sequence[str] | int | None]
    origin: str
    protocol: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    each: int = 0
    colours: int = 3


def load_collection(
    collection: Collection,
    size: int,
    *,
    rotations: str | Sequence[str] | None = None,
    progress: Progress | None = None,
    key: Sequence[object] = (),
    note: str = "",
) -> Dataset:
    """Open a collection's store, building it first where it is missing.

    Args:
        collection: which.
        size: pixels on a side; images are stretched with antialiasing. 0 for tables.
        rotations: splits whose classes also come rotated by 90, 180 and 270 degrees as classes of their own.
        progress: called when the store has to be built.
        key: what else the content of the store depends on.
        note: added to the protocol.

    Raises:
        DataError: if the data are missing, damaged or not the published content.
    """
    turned = parse_rotations(rotations)
    folder, layout = find_collection(collection)
    store = _store(collection, folder, layout, size, key, progress)
    splits: dict[str, ClassView] = {}
    for split, members in _members(collection, store.classes).items():
        view = ClassView.of(store, members)
        splits[split] = view.with_rotations() if split in turned else view
    counts = "/".join(str(len(np.unique(view.index))) for view in splits.values())
    parts = [f"{collection.protocol} ({counts} classes)"]
    parts += [f"{' and '.join(turned)} rotated"] if turned else []
    parts += [note] if note else []
    parts += [f"{'RGB' if collection.colours == 3 else 'grey'} {size}x{size}"] if collection.colours else []
    facts = {**collection.provenance, "folder": str(folder), "layout": layout.title}
    return Dataset(collection.name, ", ".join(parts), store, splits, provenance=facts)


def find_collection(collection: Collection) -> tuple[Path, Layout]:
    """The first folder of the data roots that holds the collection, and its layout there.

    Raises:
        DataError: saying what to put where.
    """
    places = [root / name for root in data_roots() for name in collection.folders]
    for place in places:
        for layout in collection.layouts:
            if layout.files(place):
                return place, layout
    raise DataError(
        f"{collection.name} is not on this machine (looked in {', '.join(map(str, places))}): {collection.origin}; "
        f"then run: metacortex data add {collection.name} --from FOLDER, where FOLDER holds {_layouts(collection)}"
    )


def add_collection(collection: Collection, source: Path, target: Path) -> None:
    """Copy a collection's files into a folder, after reading every example of them.

    Args:
        collection: which.
        source: a folder in one of the collection's layouts, or the folder that holds it.
        target: an existing folder to fill.

    Raises:
        DataError: if something is missing, damaged or not the published content.
    """
    for place in (source, *(source / name for name in collection.folders)):
        for layout in collection.layouts:
            files = layout.files(place)
            if files:
                _read_all(collection, place, layout)
                for path in files:
                    _copy(path, target / path.relative_to(place))
                return
    raise DataError(f"{source} does not hold {collection.name}: expected {_layouts(collection)}; {collection.origin}")


def home_of(collection: Collection, source: Path) -> str:
    """Name of the cache's folder into which the collection found at a place is to be copied."""
    for place in (source, *(source / name for name in collection.folders)):
        for layout in collection.layouts:
            if layout.files(place):
                return layout.home or collection.folders[0]
    return collection.folders[0]


def _layouts(collection: Collection) -> str:
    return ", or ".join(layout.title for layout in collection.layouts)


def _shape(collection: Collection, size: int) -> tuple[int, ...]:
    return (collection.colours, size, size) if collection.colours else ()


def _store(
    collection: Collection, folder: Path, layout: Layout, size: int, key: Sequence[object], progress: Progress | None
) -> ClassStore:
    digest = hashlib.sha256(json.dumps([FORMAT, size, *key, *_states(folder, layout)]).encode()).hexdigest()[:12]
    title = collection.folders[0]  # not the name: two splits of the same pictures share a store
    path = stores_dir() / f"{title}-{size or 'table'}-{digest}"

    def build() -> ClassStore:
        with ExitStack() as stack:
            classes = layout.read(folder, _shape(collection, size), stack)
            _check(collection, folder, layout, [info for info, _ in classes])
            if collection.colours:
                return build_store(path, title, _shape(collection, size), classes, progress=progress)
            rows = [(info, list(items)) for info, items in classes]
            width = next((row.shape for _, items in rows for row in items), ())
            return build_store(path, title, width, rows, dtype="float32", progress=progress)

    return open_or_build(path, build)


def _states(folder: Path, layout: Layout) -> list[str]:
    """Name, size and time of every file; of a folder of images its own, which change with what is in it."""
    states = []
    for path in layout.files(folder):
        info = path.stat()
        size = info.st_size if path.is_file() else 0
        states.append(f"{path.relative_to(folder).as_posix()} {size} {info.st_mtime_ns}")
    return states


def _read_all(collection: Collection, folder: Path, layout: Layout) -> None:
    with ExitStack() as stack:
        # the size does not matter for finding damage: a small one is quick
        classes = layout.read(folder, _shape(collection, 8), stack)
        _check(collection, folder, layout, [info for info, _ in classes])
        for info, items in classes:
            count = sum(1 for _ in items)
            if count == 0 or info.count not in (0, count):
                raise DataError(f"{folder}: class '{info.name}' has {count} examples, needs {info.count or 1}")


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # with its times: the store's key is made of names, sizes and times
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copy2(path, target)


def _members(collection: Collection, classes: Sequence[ClassInfo]) -> dict[str, list[int]]:
    """Numbers of the classes of each split, in the order of their names."""
    splits: dict[str, list[int]] = {split: [] for split in SPLITS if split in collection.expects}
    known = {
        name: split for split, names in collection.expects.items() if isinstance(names, Sequence) for name in names
    }
    for number, info in enumerate(classes):
        split = known.get(info.name) or info.meta.get("split", "")
        if split in splits:
            splits[split].append(number)
    return splits


def _check(collection: Collection, folder: Path, layout: Layout, classes: Sequence[ClassInfo]) -> None:
    """Whether the classes are those that were published."""
    dealt = _members(collection, classes)
    for split, expected in collection.expects.items():
        names = sorted(classes[i].name for i in dealt[split])
        wanted = names if expected is None else sorted(expected) if isinstance(expected, Sequence) else None
        if not names or (names != wanted if wanted is not None else len(names) != expected):
            odd = sorted(set(wanted or ()) ^ set(names))
            number = len(wanted) if wanted is not None else expected
            hint = f" (first difference: {odd[0]})" if odd else ""
            raise DataError(
                f"{folder}: expected the {number or 'many'} classes of {collection.name}'s {split} split, "
                f"got {len(names)}{hint}: get the published content"
            )
    known = set().union(*dealt.values())
    strangers = [info for number, info in enumerate(classes) if number not in known]
    if strangers:
        raise DataError(f"{folder}: class '{strangers[0].name}' is in no split of {collection.name}")
    for info in classes:
        if layout.counted and collection.each and info.count not in (0, collection.each):
            raise DataError(
                f"{folder}: class '{info.name}' has {info.count} examples, {collection.name} has {collection.each} of "
                "each class: copy or download it again"
            )
