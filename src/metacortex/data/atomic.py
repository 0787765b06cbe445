"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metacortex.errors import DataError

__all__ = ["discard", "new_folder", "sync"]

_STALE_SECONDS = 24 * 3600.0


def sync(path: Path) -> None:
    """Force a file to the disk, so that a rename never publishes a file whose content a crash could lose."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def discard(path: Path) -> None:
    """Remove a folder at once for all observers: it is renamed first, then deleted."""
    trash = _beside(path)
    with suppress(FileNotFoundError):
        os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder and rename it to `path` when the block ends well.

    Two processes may do this for the same `path` at once: the first to finish wins, the other's
    copy is discarded and it uses the winner's. When the block raises, nothing is left behind.

    Args:
        path: the folder to appear; its parents are made.

    Yields:
        The temporary folder to write into, on the same file system as `path`.

    Raises:
        DataError: if the disk is full or the place cannot be written.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary.mkdir()
        yield temporary
        _publish(temporary, path)
    except OSError as error:
        culprit = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        # Of a copy that finds no room, Python names the file that is read.
        full = errno.errorcode.get(error.errno or 0) in ("ENOSPC", "EDQUOT", "EFBIG")
        if not full and path.parent not in culprit.parents and culprit not in (path.parent, *path.parents):
            raise DataError(f"cannot read {culprit}: {error.strerror or error}") from error
        raise DataError(
            f"cannot write {path}: {error.strerror or error}: {'free some space there, or ' if full else ''}choose "
            "another place with the environment variable METACORTEX_CACHE; nothing half-written was left"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"


def _publish(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError:
        # a folder that is not empty cannot be renamed over: somebody else was first
        if not path.is_dir():
            raise


def _sweep(path: Path) -> None:
    """Remove what processes killed long ago left of the same folder."""
    for old in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
