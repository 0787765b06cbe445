"""Writing files and directories so that a process killed at any instant loses nothing.

A file is written under another name, flushed to the disk and renamed. A directory ``D`` is
replaced through complete neighbours: ``D.next`` (the new one) and ``D.old`` (the one before).
Each of the three names only ever appears by renaming a complete directory, so the first that
exists of ``D.next``, ``D``, ``D.old`` is always complete and the newest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_directory", "recover_directory", "replace_directory", "write_file"]


def write_file(path: Path, data: bytes | str) -> None:
    """Replace a file atomically and durably.

    Args:
        path: where; its parent exists.
        data: the content; text is written as UTF-8.

    Raises:
        OSError: e.g. when the disk is full; the file that was there is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_durably(temporary, data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def replace_directory(path: Path, contents: Mapping[str, bytes]) -> None:
    """Replace a directory of files as a whole.

    Args:
        path: the directory; its parent is created where needed.
        contents: file name -> content.

    Raises:
        OSError: e.g. when the disk is full; `find_directory` still finds the previous one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_directory(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.mkdir()
        for name, data in contents.items():
            _write_durably(temporary / name, data)
        _sync_directory(temporary)
        os.rename(temporary, _next(path))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _finish(path)
    _sync_directory(path.parent)


def find_directory(path: Path) -> Path | None:
    """The newest complete version of a replaced directory, or ``None``; changes nothing."""
    return next((p for p in (_next(path), path, _old(path)) if p.is_dir()), None)


def recover_directory(path: Path) -> None:
    """Finish or undo a replacement that was cut short. Only the one process that writes may call it."""
    shutil.rmtree(path.with_name(f".{path.name}.tmp"), ignore_errors=True)
    if _next(path).is_dir():
        _finish(path)
    elif path.is_dir():
        shutil.rmtree(_old(path), ignore_errors=True)
    elif _old(path).is_dir():
        os.rename(_old(path), path)


def _finish(path: Path) -> None:
    if path.is_dir():
        if _old(path).is_dir():
            shutil.rmtree(_old(path))
        os.rename(path, _old(path))
    os.rename(_next(path), path)
    shutil.rmtree(_old(path), ignore_errors=True)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    # A rename is only on the disk once its directory is; some systems cannot open directories.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
