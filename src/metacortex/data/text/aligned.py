"""A user's own aligned text: a folder of files ``name.en``, ``name.fr``, or one table with a column per language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from metacortex.data.text.corpus import Corpus, Pair, Sentences, parse_pairs
from metacortex.data.text.languages import NAMES, name_languages
from metacortex.data.text.lines import BadText, clean, read_bytes, read_lines, split_lines
from metacortex.errors import DataError

__all__ = ["load_aligned", "read_aligned_pairs", "read_pairs"]

_CODE = re.compile(r"[a-z]{2,3}([_-][A-Za-z0-9]{2,8})*")
_DEALT = 0.1
"""Share of the texts that become validation, and test, where no files of these names are given."""

_VALIDATION = ("val", "valid", "validation", "dev")


def load_aligned(
    path: str | Path,
    *,
    held_out: str | Sequence[Pair] = (),
    bad_text: BadText = "refuse",
    train: int | None = None,
    name: str | None = None,
) -> Corpus:
    """A folder of aligned text files, or a table.

    In a folder, files ``SET.LANGUAGE`` (also ``.gz``) with the same ``SET`` belong together: line ``n`` of each says
    the same; an empty line is one that the language lacks. Sets called ``train``, ``val`` (``valid``,
    ``validation``, ``dev``) and ``test…`` are the splits; other sets are added to ``train``. What is missing of
    ``val`` and ``test`` is taken from ``train``, a tenth of its texts each, chosen by a hash of the text, so that
    equal lines come into one split.

    A table (``.tsv``, also ``.gz``) has the languages in its first line, separated by tabs, then one line per sentence.

    Args:
        path: the folder or the table.
        held_out: directed pairs that no training task shows, e.g. ``"cs-fr,fr-cs"``.
        bad_text: ``"refuse"`` or ``"replace"`` bytes that are no UTF-8.
        train: use only the first so many training lines.
        name: name of the corpus; the folder's or table's when not given.

    Raises:
        DataError: if nothing is there, files of one set have different numbers of lines (both are named), a row of
            the table has another number of columns, or text is no UTF-8.
        SettingsError: for a held-out pair that is not there.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{place}: there is no such folder or table")
    sets = _read_folder(place, bad_text) if place.is_dir() else {"all": _read_table(place, bad_text)}
    codes = sorted({code for text in sets.values() for code in text})
    splits, how = _split(sets)
    languages = name_languages(codes)
    title = name or place.resolve().name.split(".")[0]
    counts = ", ".join(f"{split} {len(part)}" for split, part in splits.items())
    corpus = Corpus(
        title,
        f"{how} (lines: {counts})",
        languages,
        splits,
        parse_pairs(held_out, languages),
        provenance={"source": str(place.resolve())},
    )
    return corpus if train is None else corpus.limited(train)


def read_pairs(path: str | Path, bad_text: BadText = "refuse") -> list[tuple[str, str]]:
    """Example pairs from a table of two columns, source and target, for adapting to a new pair of languages.

    A first line of two different language codes is taken for a heading. Pairs with an empty side are left out.

    Raises:
        DataError: if the file is missing, has another number of columns, no pair in it, or is no UTF-8.
    """
    place = Path(path).expanduser()
    rows = _columns(place, bad_text)
    for number, row in rows:
        if len(row) != 2:
            raise DataError(f"{place}, line {number}: expected 2 columns separated by a tab, got {len(row)}")
    if rows and _is_heading(rows[0][1]):
        rows = rows[1:]
    pairs = [(source, target) for _, (source, target) in rows if source and target]
    if not pairs:
        raise DataError(f"{place} holds no pair: expected a line with two texts separated by a tab for each")
    return pairs


def _is_heading(cells: Sequence[str]) -> bool:
    """Whether the cells are codes of different languages: ``en`` and ``pt-BR`` are, ``no`` and ``nej`` are words."""
    codes = [re.split("[-_]", cell.lower())[0] for cell in cells if _CODE.fullmatch(cell)]
    return len({code for code in codes if code in NAMES}) == len(cells)


def read_aligned_pairs(source: str | Path, target: str | Path, bad_text: BadText = "refuse") -> list[tuple[str, str]]:
    """Example pairs from two files, line ``n`` of one belonging to line ``n`` of the other.

    Pairs with an empty side are left out.

    Raises:
        DataError: if a file is missing or no UTF-8, the numbers of lines differ, or there is no pair.
    """
    paths = [Path(path).expanduser() for path in (source, target)]
    first, second = (read_lines(path, bad_text) for path in paths)
    if len(first) != len(second):
        raise DataError(
            f"{paths[0]} has {len(first)} lines and {paths[1]} has {len(second)}: aligned files have as many lines "
            "each, an empty line standing for a sentence that is missing"
        )
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one and other]
    if not pairs:
        raise DataError(f"{paths[0]} and {paths[1]} have no line in common: expected a text in both for each pair")
    return pairs


def _read_folder(folder: Path, bad: BadText) -> dict[str, dict[str, list[str]]]:
    """Set -> language -> lines."""
    files = _list_sets(folder)
    sets: dict[str, dict[str, list[str]]] = {}
    for name, paths in files.items():
        text = {code: read_lines(path, bad) for code, path in paths.items()}
        first = next(iter(text))
        for code, lines in text.items():
            if len(lines) != len(text[first]):
                raise DataError(
                    f"{paths[first]} has {len(text[first])} lines and {paths[code]} has {len(lines)}: aligned files "
                    "have as many lines each, an empty line standing for a sentence that is missing"
                )
        sets[name] = text
    return sets


def _list_sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Set -> language -> file, for the sets in at least two languages."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        stem, _, code = path.name.removesuffix(".gz").rpartition(".")
        if not stem or not _CODE.fullmatch(code):
            continue
        if code in found.setdefault(stem, {}):
            raise DataError(f"{found[stem][code]} and {path} are the same text twice: remove one of them")
        found[stem][code] = path
    sets = {stem: paths for stem, paths in found.items() if len(paths) > 1}
    if not sets:
        raise DataError(
            f"{folder} holds no aligned text: expected files of one name ending in a language each, "
            f"e.g. {folder / 'train.en'} and {folder / 'train.fr'} (also .gz)"
        )
    return sets


def _read_table(path: Path, bad: BadText) -> dict[str, list[str]]:
    """Language -> lines."""
    rows = _columns(path, bad)
    codes = rows[0][1] if rows else []
    if len(codes) < 2 or not all(_CODE.fullmatch(cell) for cell in codes):
        got = f"{codes!r}"[:80] if rows else "an empty file"
        raise DataError(f"{path}: expected language codes separated by tabs in the first line (en, fr …), got {got}")
    if len(set(codes)) != len(codes):
        raise DataError(f"{path}: a language stands twice in the first line: {', '.join(codes)}")
    for number, row in rows[1:]:
        if len(row) != len(codes):
            raise DataError(f"{path}, line {number}: expected {len(codes)} columns separated by tabs, got {len(row)}")
    return {code: [row[i] for _, row in rows[1:]] for i, code in enumerate(codes)}


def _columns(path: Path, bad: BadText) -> list[tuple[int, list[str]]]:
    """Number (from 1) and cleaned cells of each line; lines with nothing in them are left out."""
    lines = enumerate(split_lines(read_bytes(path), str(path), bad), start=1)
    return [(number, [clean(cell) for cell in line.split("\t")]) for number, line in lines if line.strip()]


def _split(sets: Mapping[str, Mapping[str, Sequence[str]]]) -> tuple[dict[str, Sentences], str]:
    """The splits, and how they came about."""
    tests = [name for name in sets if name.startswith("test")]
    known = {"val": [name for name in sets if name in _VALIDATION], "test": tests[:1]}
    given = {split: _join([sets[name] for name in names]) for split, names in known.items() if names}
    rest = [text for name, text in sets.items() if name not in tests and name not in _VALIDATION]
    if not rest:
        raise DataError(f"there is no text to train on, only {', '.join(sets)}: add files like train.en and train.fr")
    missing = [split for split in ("val", "test") if split not in given]
    dealt = _deal(_join(rest), missing)
    how = "split by file" + (f", {' and '.join(missing)} dealt by hash" if missing else "")
    return {**dealt, **given, **{name: _join([sets[name]]) for name in tests[1:]}}, how


def _join(parts: Sequence[Mapping[str, Sequence[str]]]) -> Sentences:
    """One set after the other; a language that a set has not is missing in its lines."""
    codes = sorted({code for part in parts for code in part})
    sizes = [len(next(iter(part.values()))) for part in parts]
    return Sentences(
        {
            code: tuple(line for part, size in zip(parts, sizes, strict=True) for line in part.get(code, [""] * size))
            for code in codes
        }
    )


def _deal(sentences: Sentences, splits: Sequence[str]) -> dict[str, Sentences]:
    """Take splits out of the lines; what is left is ``train``."""
    keys = [next((text for text in line if text), "") for line in zip(*sentences.text.values(), strict=True)]
    order = sorted(set(keys), key=lambda text: hashlib.sha256(text.encode()).digest())
    share = max(1, round(_DEALT * len(order)))
    if len(order) <= share * len(splits):
        raise DataError(
            f"{len(order)} different lines are too few to take {' and '.join(splits)} from: give more lines, or files "
            "val.LANGUAGE and test.LANGUAGE"
        )
    home = {text: split for i, split in enumerate(splits) for text in order[i * share : (i + 1) * share]}
    rows: dict[str, list[int]] = {split: [] for split in ("train", *splits)}
    for row, key in enumerate(keys):
        rows[home.get(key, "train")].append(row)
    return {
        split: Sentences({code: tuple(lines[row] for row in members) for code, lines in sentences.text.items()})
        for split, members in rows.items()
    }
