"""Zip and tar archives, read with suspicion and never unpacked onto the disk."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from metacortex.errors import DataError

__all__ = ["open_tar", "open_zip", "read_entry", "read_member", "safe_entries", "safe_members"]

_MAX_ENTRY = 256 * 1024 * 1024
_TAR_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)


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
        _check(str(archive.filename), info.orig_filename, info.file_size)
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


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not, for reading.

    Raises:
        DataError: naming the file, if it is missing, unreadable or no tar archive.
    """
    try:
        archive = tarfile.open(path)  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except _TAR_DAMAGE as error:
        raise DataError(f"{path}: not a tar archive, or cut short ({error}): copy or download it again") from None
    with archive:
        yield archive


def safe_members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The files of an archive, sorted by name.

    Raises:
        DataError: if a member leads out of the archive's own folder, is a link or a device, or is huge; or if
            the archive is damaged.
    """
    try:
        members = archive.getmembers()
    except _TAR_DAMAGE as error:
        raise DataError(f"{archive.name}: damaged or cut short ({error}): copy or download it again") from None
    for info in members:
        _check(str(archive.name), info.name, info.size)
        if not (info.isfile() or info.isdir()):
            raise DataError(f"{archive.name}: entry {info.name!r} is a link or a device: do not trust it")
    return sorted((info for info in members if info.isfile()), key=lambda info: info.name)


def read_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """The content of a file of an archive.

    Raises:
        DataError: if it is damaged.
    """
    try:
        file = archive.extractfile(info)
        content = b"" if file is None else file.read()
    except _TAR_DAMAGE as error:
        raise DataError(f"{archive.name}: entry {info.name!r} is damaged ({error}): copy the archive again") from None
    if len(content) != info.size:
        raise DataError(f"{archive.name}: entry {info.name!r} is cut short: copy the archive again")
    return content


def _check(archive: str, name: str, size: int) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise DataError(f"{archive}: entry {name!r} leads out of its folder: do not trust it")
    if size > _MAX_ENTRY:
        raise DataError(f"{archive}: entry {name!r} would unpack to {size} bytes")
