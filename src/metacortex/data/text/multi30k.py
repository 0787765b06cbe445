"""Multi30k, task 1: captions of 31,014 photographs in English, German, French and Czech.

References: Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual English-German image descriptions",
VL 2016 (W16-3210); Elliott et al., WMT 2017 (W17-4718: French, the 2017 test sets); Barrault et al., WMT 2018
(Czech). The captions are those of Flickr30k: for research and education, not for trade.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metacortex.data.locations import data_roots
from metacortex.data.text.corpus import Corpus, Pair, Sentences, parse_pairs
from metacortex.data.text.languages import name_languages
from metacortex.data.text.lines import read_lines
from metacortex.errors import DataError, unknown_name

__all__ = ["HELD_OUT", "LANGUAGES", "TEST_SETS", "add_multi30k", "find_multi30k", "load_multi30k", "read_features"]

LANGUAGES = ("en", "de", "fr", "cs")
TEST_SETS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
HELD_OUT = "cs-fr,fr-cs,de-cs"
"""The pairs that are held out unless others are named: each of their languages is seen in other pairs."""

_SETS = ("train", "val", *TEST_SETS)
# where the files lie below the folder: as in the official repository, or all in one folder
_BELOW = ("task1/raw", "data/task1/raw", "raw", ".")
_NAMES_BELOW = ("task1/image_splits", "data/task1/image_splits", "image_splits")
_PROVENANCE = {
    "source": "https://github.com/multi30k/dataset (data/task1/raw, data/task1/image_splits)",
    "licence": "captions of Flickr30k: research and education only",
    "reference": "Elliott et al. (2016), W16-3210; Elliott et al. (2017), W17-4718; Barrault et al. (2018)",
}


def load_multi30k(
    *,
    languages: Sequence[str] = LANGUAGES,
    held_out: str | Sequence[Pair] = HELD_OUT,
    test: str = "test_2016_flickr",
    train: int | None = None,
    features: str | Path | None = None,
) -> Corpus:
    """The official sets: 29,000 lines to train on, 1,014 for validation, and four test sets.

    Every set is a split under its own name; ``"test"`` is the one that `test` chooses. The sets of 2017 have no
    Czech. Lines are cleaned (`metacortex.data.text.lines.clean`), which changes nothing but white space there.

    Args:
        languages: which of en, de, fr, cs, in the order of their numbers.
        held_out: directed pairs that no training task shows, e.g. ``"cs-fr,fr-cs"``; pairs of languages that were
            not chosen are ignored.
        test: the set that ``"test"`` stands for.
        train: use only the first so many training lines.
        features: a file with one row per image, see `read_features`; without it lines have no features.

    Raises:
        DataError: if the files are not found, misaligned or damaged, or an image has no features.
        SettingsError: for a language, pair or test set that does not exist.

    Example:
        >>> from metacortex.errors import SettingsError
        >>> try:
        ...     load_multi30k(test="test_2016")
        ... except SettingsError as error:
        ...     print(str(error)[:59])
        unknown test set 'test_2016': did you mean 'test_2016_flick
    """
    if test not in TEST_SETS:
        raise unknown_name("test set", test, TEST_SETS)
    for language in languages:
        if language not in LANGUAGES:
            raise unknown_name("language of multi30k", language, LANGUAGES)
    names = name_languages(languages)
    pairs = parse_pairs(held_out, name_languages(LANGUAGES)) if isinstance(held_out, str) else tuple(held_out)
    folder = find_multi30k()
    rows = None if features is None else read_features(features)
    splits = {name: _read_set(folder, name, list(names), rows) for name in _SETS if _exists(folder, name)}
    if test not in splits:
        raise DataError(f"{folder} has no files of the set {test}: copy multi30k again, or choose another test set")
    corpus = Corpus(
        "multi30k",
        f"official splits, test: {test}",
        names,
        {**splits, "test": splits[test]},
        tuple(pair for pair in pairs if names.keys() >= set(pair)),
        provenance={**_PROVENANCE, "folder": str(folder), **({"features": str(features)} if features else {})},
    )
    return corpus if train is None else corpus.limited(train)


def find_multi30k() -> Path:
    """The first folder ``multi30k`` of the data roots that holds the training set.

    Raises:
        DataError: saying what to put where.
    """
    places = [root / "multi30k" for root in data_roots()]
    for place in places:
        if _find(place, "train", "en") is not None:
            return place
    raise DataError(
        "multi30k is not on this machine (looked in " + ", ".join(map(str, places)) + "): run: metacortex data fetch "
        "multi30k; or get the folder data/task1 of https://github.com/multi30k/dataset and run: metacortex data add "
        "multi30k --from FOLDER"
    )


def add_multi30k(source: Path, target: Path) -> None:
    """Copy the files into a folder, after reading every line of them.

    Args:
        source: a folder with the files ``train.en`` and so on, plain or ``.gz``; in it, or in ``task1/raw`` or
            ``raw`` below it, with the image names in ``image_splits`` beside.
        target: an existing folder to fill.

    Raises:
        DataError: if something is missing, damaged or misaligned.
    """
    if _find(source, "train", "en") is None:
        raise DataError(f"{source} holds no file train.en or train.en.gz: name the folder data/task1 of multi30k")
    for name in _SETS:
        if _exists(source, name):
            _read_set(source, name, list(LANGUAGES), None)
    for name in _SETS:
        for language in LANGUAGES:
            _copy(_find(source, name, language), target / "task1" / "raw")
        _copy(_find_names(source, name), target / "task1" / "image_splits")


def read_features(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    """The names of images and one row of features for each.

    Args:
        path: an ``.npz`` with the arrays ``names`` ``[n]`` (texts) and ``features`` ``[n, D]``; or an ``.npy``
            ``[n, D]`` beside a text file of the same name ending in ``.txt`` that has the name of each row.

    Returns:
        The ``n`` names and ``[n, D]`` float32.

    Raises:
        DataError: naming the file, if it is missing, damaged or of another shape.
    """
    place = Path(path).expanduser()
    try:
        if place.suffix == ".npz":
            with np.load(place, allow_pickle=False) as archive:
                names, rows = [str(name) for name in archive["names"]], np.asarray(archive["features"])
        else:
            rows, names = np.load(place, allow_pickle=False), read_lines(place.with_suffix(".txt"))
    except FileNotFoundError:
        raise DataError(f"{place}: there is no such file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{place}: not an .npy or .npz file of features ({error})") from None
    if rows.ndim != 2 or len(rows) != len(names) or rows.dtype.kind not in "fiu":
        raise DataError(
            f"{place}: expected features [n, D] with one name per row, got {list(rows.shape)} {rows.dtype} and "
            f"{len(names)} names"
        )
    return names, rows.astype(np.float32)


def _read_set(
    folder: Path, name: str, languages: Sequence[str], features: tuple[list[str], NDArray[np.float32]] | None
) -> Sentences:
    files = {language: path for language in languages if (path := _find(folder, name, language)) is not None}
    text = {language: tuple(read_lines(path)) for language, path in files.items()}
    first = next(iter(text))
    for language, lines in text.items():
        if len(lines) != len(text[first]):
            raise DataError(
                f"{files[first]} has {len(text[first])} lines and {files[language]} has {len(lines)}: aligned files "
                "have as many lines each; copy multi30k again"
            )
    listing = _find_names(folder, name)
    ids = tuple(read_lines(listing)) if listing is not None else ()
    if ids and len(ids) != len(text[first]):
        raise DataError(f"{listing} has {len(ids)} image names for {len(text[first])} lines: copy multi30k again")
    return Sentences(text, ids, (), None if features is None else _rows(name, ids, *features))


def _rows(name: str, ids: Sequence[str], names: list[str], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features of each line: ``[N, D]``."""
    number = {image: row for row, image in enumerate(names)}
    images = [image.split("#")[0] for image in ids]  # those of MS COCO carry the number of the caption
    missing = [image for image in images if image not in number]
    if missing or not ids:
        which = (
            f"the image {missing[0]} and {len(missing) - 1} others of it have" if ids else "its images have no names,"
        )
        raise DataError(f"set {name}: {which} no row in the features given: give a row for every image name")
    return features[[number[image] for image in images]]


def _exists(folder: Path, name: str) -> bool:
    return _find(folder, name, "en") is not None


def _find(folder: Path, name: str, language: str) -> Path | None:
    return _first(folder / below / f"{name}.{language}{end}" for below in _BELOW for end in ("", ".gz"))


def _find_names(folder: Path, name: str) -> Path | None:
    return _first(folder / below / f"{name}.txt" for below in _NAMES_BELOW)


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _copy(path: Path | None, folder: Path) -> None:
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)
