"""Zip archives, read with suspicion."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from metacortex.errors import DataError

__all__ = ["open_zip", "read_entry", "safe_entries"]

_MAX_ENTRY = 256 * 1024 * 1024


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading.

    Raises:
        DataError: naming the file, if it is missing, unreadable or no zip archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a zip archive, or cut short ({error}): copy or download it again") from None
    with archive:
        yield archive


def safe_entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive, sorted by name.

    Raises:
        DataError: if an entry leads out of the archive's own folder (``..``, absolute, a drive) or is huge.
    """
    files = []
    for info in archive.infolist():
        # ZipInfo.filename is already cut at NUL and uses '/', the name as written may not
        parts = PurePosixPath(info.orig_filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in info.orig_filename:
            raise DataError(
                f"{archive.filename}: entry {info.orig_filename!r} leads out of its folder: do not trust it"
            )
        if info.file_size > _MAX_ENTRY:
            raise DataError(f"{archive.filename}: entry {info.filename!r} would unpack to {info.file_size} bytes")
        if not info.is_dir():
            files.append(info)
    return sorted(files, key=lambda info: info.filename)


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of an entry, its checksum verified.

    Raises:
        DataError: if the entry is damaged.
    """
    try:
        return archive.read(info)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{archive.filename}: entry {info.filename!r} is damaged ({error}): copy the archive again"
        ) from None
