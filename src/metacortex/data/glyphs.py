"""Glyphs: handwriting-like characters of many scripts, rendered from the fonts that matplotlib ships.

A few-shot data set that needs no download. A class is a character (a Unicode code point); its twenty
"drawers" are fonts, hands and pens: the middle line of each stroke is taken from a font, bent by a
random affine map and an elastic one, and drawn with a thin or sometimes a thick pen.

Whole scripts are held out (`metacortex.data.glyph_fonts.HELD_OUT`): Armenian, Georgian and Tifinagh are
the test, Hebrew, Lao, N'Ko, Ogham and Old Italic the validation split. Characters that look like another one
(Latin A, Greek Alpha, Cyrillic A) are dropped, also across splits. The digits 0 to 9 are in no split.

What a learner trained on Glyphs has not seen: any drawing by a human hand. What it may have seen: the
printed form of characters that another data set also contains (Omniglot has Latin, Greek, Cyrillic and
Canadian syllabics among its fifty alphabets).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from metacortex.data.dataset import SPLITS, Dataset, parse_rotations
from metacortex.data.glyph_distort import draw, drawers
from metacortex.data.glyph_fonts import HELD_OUT, fonts_digest
from metacortex.data.glyph_pens import PENS_RECIPE, draw_with_all_pens
from metacortex.data.glyph_select import Chosen, choose, glyph_fields
from metacortex.data.locations import stores_dir
from metacortex.data.store import ClassInfo, ClassStore, build_store, open_or_build
from metacortex.data.view import ClassView
from metacortex.errors import SettingsError

__all__ = ["RECIPE", "load_glyphs", "load_glyphs_pens"]

RECIPE = 2
"""Version of everything that decides about the pixels; raised with each change, so that old caches are left alone."""

_FONTS_PER_CLASS = 4
_CHUNK = 32
_THREADS = 2


def load_glyphs(
    *,
    size: int = 28,
    rotations: str | Sequence[str] | None = ("train",),
    drawers: int = 20,
    limit: int | None = None,
    seed: int = 0,
    pens: Literal["fine", "all"] = "fine",
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open Glyphs; the first time it is drawn, which takes some seconds, then it lies in the cache.

    The drawing of a class depends only on (seed, code point, drawer, size): fewer drawers or classes are
    a subset of the same images.

    Args:
        size: side of the square images in pixels, 8..128.
        rotations: splits in which quarter turns of a class are classes of their own, e.g. ``("train",)``
            or ``"train,val"``; turns that look like another class (O, or d and p) are left out.
        drawers: images per class, 1..64.
        limit: at most so many characters per split, spread evenly over its scripts; all when not given.
        seed: another seed gives other drawings of the same characters.
        pens: ``"fine"`` as drawn on a sheet; ``"all"``: from fine to broad pens, sharp to blurred, framed by
            `metacortex.data.ink.frame`, see `metacortex.data.glyph_pens`.
        progress: called with (classes drawn, classes in all) while drawing.

    Returns:
        Splits ``"train"``, ``"val"`` and ``"test"``, grouped by script; ``meta`` of a class has ``script``,
        ``codepoint``, ``character``, ``split`` and ``turns``.

    Raises:
        SettingsError: for an option out of range.
        DataError: if matplotlib's fonts are missing or the cache cannot be written.

    Example:
        >>> from metacortex.data.glyphs import load_glyphs
        >>> data = load_glyphs(limit=2, drawers=3)
        >>> data.store.shape, sorted(data.splits)
        ((1, 28, 28), ['test', 'train', 'val'])
    """
    _whole("size", size, 8, 128)
    _whole("drawers", drawers, 1, 64)
    _whole("seed", seed, 0, 2**63 - 1)
    if limit is not None:
        _whole("limit", limit, 1, 1_000_000)
    if pens not in ("fine", "all"):
        raise SettingsError(f"glyphs: pens must be 'fine' or 'all', got {pens!r}")
    turning = parse_rotations(rotations)
    options = {
        "recipe": RECIPE,
        "size": size,
        "drawers": drawers,
        "limit": limit,
        "seed": seed,
        "fonts": fonts_digest(),
        **({} if pens == "fine" else {"pens": PENS_RECIPE}),
    }
    key = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
    path = stores_dir() / f"glyphs-{size}px-{key}"
    store = open_or_build(path, lambda: _build(path, size, drawers, limit, seed, pens, progress))
    return _dataset(store, turning, size, drawers, pens)


def load_glyphs_pens(
    *,
    size: int = 28,
    rotations: str | Sequence[str] | None = ("train",),
    drawers: int = 32,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Glyphs drawn with all pens, `load_glyphs` with ``pens="all"``: for learners that must read any drawing."""
    return load_glyphs(
        size=size, rotations=rotations, drawers=drawers, limit=limit, seed=seed, pens="all", progress=progress
    )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"glyphs: {name} must be a whole number in {low}..{high}, got {value!r}")


def _build(
    path: Path,
    size: int,
    count: int,
    limit: int | None,
    seed: int,
    pens: str,
    progress: Callable[[int, int], None] | None,
) -> ClassStore:
    classes = sorted(_limited(choose(), limit), key=lambda c: c.character.name)
    chunks = [classes[i : i + _CHUNK] for i in range(0, len(classes), _CHUNK)]
    # threads, not processes: NumPy releases the lock, and no script of a user must be importable for it
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(_drawings, chunk, size, count, seed, pens) for chunk in chunks]
        parts = ((_info(c, count), _rows(futures[i // _CHUNK], i % _CHUNK)) for i, c in enumerate(classes))
        try:
            return build_store(path, "glyphs", (1, size, size), parts, progress=progress)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _limited(classes: Sequence[Chosen], limit: int | None) -> Iterator[Chosen]:
    for split in SPLITS:
        rows = [c for c in classes if c.split == split]
        few = len(rows) if limit is None else min(limit, len(rows))
        yield from (rows[i * len(rows) // few] for i in range(few))


def _rows(chunk: Future[np.ndarray], row: int) -> Iterator[np.ndarray]:
    """The images of a class, once its chunk is drawn."""
    yield from chunk.result()[row]


def _info(chosen: Chosen, count: int) -> ClassInfo:
    character = chosen.character
    meta = {
        "script": character.script,
        "codepoint": f"U+{character.code:04X}",
        "character": chr(character.code),
        "split": chosen.split,
        "turns": "".join(map(str, chosen.turns)),
    }
    return ClassInfo(character.name, count, meta)


def _drawings(chunk: Sequence[Chosen], size: int, count: int, seed: int, pens: str) -> np.ndarray:
    """All drawings of some classes: ``[classes, drawers, 1, size, size]`` uint8."""
    pairs = [(c.character.code, font) for c in chunk for font in c.character.fonts[:_FONTS_PER_CLASS]]
    fields, good = glyph_fields(pairs)
    images = np.empty((len(chunk), count, 1, size, size), dtype=np.uint8)
    for row, chosen in enumerate(chunk):
        code = chosen.character.code
        own = np.array([i for i, (other, _) in enumerate(pairs) if other == code and good[i]])
        hands = drawers(seed, code, count)
        chosen_fields = fields[own[(hands.font * len(own)).astype(int)]]
        if pens == "all":
            images[row, :, 0] = draw_with_all_pens(chosen_fields, hands, size, seed, code)
        else:
            images[row, :, 0] = draw(chosen_fields, hands, size)
    return images


def _dataset(store: ClassStore, turning: Sequence[str], size: int, count: int, pens: str) -> Dataset:
    splits = {split: _view(store, split, split in turning) for split in SPLITS}
    classes = Counter(c.meta["split"] for c in store.classes)
    held_out = "; ".join(f"{split}: {', '.join(scripts)}" for split, scripts in HELD_OUT.items())
    protocol = (
        f"held-out scripts ({'/'.join(str(classes[s]) for s in SPLITS)} characters), "
        f"{'+'.join(turning) or 'no'} rotations, {size}x{size}" + (", all pens" if pens == "all" else "")
    )
    provenance = {
        "source": "rendered from the DejaVu and STIX fonts of matplotlib",
        "licence": "fonts: Bitstream Vera / public domain (DejaVu), SIL Open Font License (STIX)",
        "recipe": str(RECIPE),
        "fonts": fonts_digest(),
        "held_out": held_out,
        "drawers": str(count),
        **{f"{split}_classes": str(len(view)) for split, view in splits.items()},
    }
    return Dataset("glyphs" if pens == "fine" else "glyphs_pens", protocol, store, splits, False, provenance)


def _view(store: ClassStore, split: str, turning: bool) -> ClassView:
    scripts = sorted({c.meta["script"] for c in store.classes})
    rows = [
        (index, int(turn), scripts.index(info.meta["script"]) * (4 if turning else 1) + int(turn))
        for index, info in enumerate(store.classes)
        if info.meta["split"] == split
        for turn in (info.meta["turns"] if turning else "0")
    ]
    index, rotation, group = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return ClassView(store, index, rotation, group)
