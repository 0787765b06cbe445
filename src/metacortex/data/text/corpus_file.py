"""A corpus as one file, so that what takes seconds to make is read in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metacortex.data.atomic import sync
from metacortex.data.text.corpus import Corpus, Sentences
from metacortex.errors import DataError

__all__ = ["FORMAT", "open_corpus", "save_corpus"]

FORMAT = 1
"""Version of the file's layout; a newer one is refused."""


def save_corpus(corpus: Corpus, path: Path) -> None:
    """Write a corpus without features as JSON.

    Raises:
        DataError: for a corpus with features.
        OSError: if the place cannot be written.
    """
    if any(part.features is not None for part in corpus.splits.values()):
        raise DataError(f"corpus '{corpus.name}' has features of its lines, which a corpus file does not hold")
    content = {
        "format": FORMAT,
        "name": corpus.name,
        "protocol": corpus.protocol,
        "languages": dict(corpus.languages),
        "held_out_pairs": corpus.held_out_pairs,
        "held_out_languages": dict(corpus.held_out_languages),
        "provenance": dict(corpus.provenance),
        "fingerprint": corpus.fingerprint,
        "splits": {
            name: {"ids": part.ids, "groups": part.groups, "text": dict(part.text)}
            for name, part in corpus.splits.items()
        },
    }
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    sync(path)


def open_corpus(path: Path) -> Corpus:
    """Read a corpus and compare it with its fingerprint.

    Raises:
        DataError: if it is missing, damaged or of a newer format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = int(content["format"])
        if version > FORMAT:
            raise DataError(
                f"{path} has format {version}, this program knows {FORMAT}: it was written by a newer metacortex; "
                "update metacortex or choose another METACORTEX_CACHE"
            )
        corpus, fingerprint = _corpus(content), str(content["fingerprint"])
    except OSError as error:
        raise DataError(f"cannot read the corpus {path}: {error.strerror or error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the corpus {path} is damaged: delete it and it will be made again") from None
    if corpus.fingerprint != fingerprint:
        raise DataError(f"the corpus {path} is damaged (its fingerprint differs): delete it and it will be made again")
    return corpus


def _corpus(content: dict[str, Any]) -> Corpus:
    splits = {
        name: Sentences(
            {language: tuple(lines) for language, lines in part["text"].items()},
            tuple(part["ids"]),
            tuple(part["groups"]),
        )
        for name, part in content["splits"].items()
    }
    return Corpus(
        content["name"],
        content["protocol"],
        content["languages"],
        splits,
        tuple((source, target) for source, target in content["held_out_pairs"]),
        {split: tuple(codes) for split, codes in content["held_out_languages"].items()},
        content["provenance"],
    )
