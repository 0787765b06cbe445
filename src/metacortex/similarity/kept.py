"""Measured transfers in a file, so that they need to be measured only once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError
from metacortex.runs.files import write_file
from metacortex.similarity.transfer import TransferSettings, transfer_matrix
from metacortex.task import Examples

__all__ = ["FORMAT", "kept_transfers"]

FORMAT = 2
"""Version of the file: ``format``, ``tasks`` (names), ``sums`` (of their examples), ``settings``, ``accuracy`` (rows
learned from, diagonal null). Files without ``sums`` and ``settings`` (format 1, or written by hand) are taken on
trust."""


def kept_transfers(
    path: Path | None,
    known: Mapping[str, Examples],
    settings: TransferSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Transfers between known tasks: read where they were kept, else measured and kept.

    Args:
        path: the file; ``None``: nothing is kept.
        known: tasks by name.
        settings: how they are measured.
        progress: called with (tasks measured, tasks).

    Returns:
        ``[known, known]``, NaN on the diagonal.

    Raises:
        DataError: if the file is of other tasks or settings, of a newer format, or damaged.
    """
    if path is not None and path.exists():
        return _read(path, known, settings)
    found = transfer_matrix(known, known, settings, progress=progress)
    if path is not None:
        rows = [[None if np.isnan(v) else float(v) for v in row] for row in found]
        content = {
            "format": FORMAT,
            "tasks": list(known),
            "sums": [_sum(examples) for examples in known.values()],
            "settings": asdict(settings),
            "accuracy": rows,
        }
        write_file(path, json.dumps(content, indent=1) + "\n")
    return found


def _sum(examples: Examples) -> str:
    """A sum over the examples of a task: other images under the same name are another task."""
    digest = hashlib.sha256(repr(tuple(examples.inputs.shape)).encode())
    for tensor in (examples.inputs, examples.targets):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, known: Mapping[str, Examples], settings: TransferSettings) -> NDArray[np.float64]:
    names = list(known)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, tasks = int(content["format"]), list(content["tasks"])
        sums = dict(zip(tasks, content["sums"], strict=True)) if "sums" in content else {}
        measured = content.get("settings")
        rows = [[np.nan if v is None else float(v) for v in row] for row in content["accuracy"]]
        found = np.array(rows, dtype=np.float64)
    except OSError as error:
        raise DataError(f"cannot read the transfers in {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the transfers in {path} are damaged ({error}): delete the file to measure them again"
        ) from None
    if version > FORMAT:
        raise DataError(f"{path} has format {version}, this metacortex knows {FORMAT}: update metacortex")
    if not set(names) <= set(tasks) or found.shape != (len(tasks), len(tasks)):
        strange = sorted(set(names) - set(tasks))[:3]
        raise DataError(
            f"the transfers in {path} are of other tasks (not of {', '.join(strange)}): name another file to measure "
            "them into"
        )
    changed = [name for name in names if name in sums and sums[name] != _sum(known[name])]
    if changed or (measured is not None and measured != json.loads(json.dumps(asdict(settings)))):
        what = f"other examples of {changed[0]}" if changed else f"other settings ({measured})"
        raise DataError(f"the transfers in {path} were measured with {what}: name another file to measure them into")
    order = [tasks.index(name) for name in names]
    return found[np.ix_(order, order)]
