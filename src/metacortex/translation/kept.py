"""Reports of earlier evaluations, read from where they were kept: to compare without translating again."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from metacortex.errors import RunError
from metacortex.evaluation.translation import TranslationScores
from metacortex.translation.evaluate import FALSIFICATIONS, REPORT_VERSION, PairScores, TranslationReport

__all__ = ["read_report"]


def read_report(path: Path | str) -> TranslationReport:
    """Read what `metacortex.translation.evaluate.evaluate_translation` kept in the folder ``eval`` of a run.

    Raises:
        RunError: if the file cannot be read, is no such report, or one of a newer format.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        version = content["version"]
        if version > REPORT_VERSION:
            raise RunError(f"{path} has format {version}, this program knows {REPORT_VERSION}: update metacortex")
        rows = tuple(_row(row) for row in content["pairs"].values())
        return TranslationReport(rows, content["protocol"], content["learner"], Path(path))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is no report of translations: expected a file that `metacortex evaluate` wrote into RUN/eval"
        ) from error


def _row(row: dict[str, Any]) -> PairScores:
    scores = TranslationScores(**{field.name: row[field.name] for field in fields(TranslationScores)})
    falsified = {what: row[f"bleu_{what}"] for what in FALSIFICATIONS if row.get(f"bleu_{what}") is not None}
    source, target = row["languages"]
    return PairScores((source, target), scores, falsified, tuple(row["translations"]), tuple(row["references"]))
