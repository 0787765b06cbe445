"""The log of a run: one JSON object per line, in the order of the steps.

Keys of a line: ``step``, ``loss`` (mean since the line before), ``lr`` and, after a validation,
``val_accuracy`` (regression: ``val_mse``) and ``val_loss``. The keys in `TIMING_FIELDS` depend on the
machine; all others are a pure function of the settings when the budget is in steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metacortex.errors import RunError
from metacortex.runs.files import write_file

__all__ = ["TIMING_FIELDS", "append_line", "read_log", "truncate_log", "without_timing"]

TIMING_FIELDS = ("seconds", "tasks_per_second", "time")


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line and hand it to the disk.

    Raises:
        RunError: if the disk is full or the file cannot be written.
    """
    try:
        with open(path, "ab") as file:
            file.write((json.dumps(line, allow_nan=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; the last checkpoint is intact") from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that was cut short is left out, a missing file is empty."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            found.append(entry)
    return found


def truncate_log(path: Path, step: int) -> None:
    """Drop every line after a step, so that a resumed run writes them again."""
    kept = [line for line in read_log(path) if line["step"] <= step]
    write_file(path, "".join(json.dumps(line) + "\n" for line in kept))


def without_timing(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines without the fields that depend on the machine."""
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]
