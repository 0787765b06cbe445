"""One file from the network: whole, with the right sum, harmless, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pooch
import requests

from metacortex.data.archives import open_tar, open_zip, safe_entries, safe_members
from metacortex.errors import DataError

__all__ = ["LARGEST", "Progress", "has_sum", "transfer"]

Progress = Callable[[str, int, int], None]
"""Called with (name of the file, bytes received, bytes in all or 0 where the server does not say)."""

LARGEST = 4 << 30
"""Bytes after which a download is broken off."""

_TRIES = 3
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces
_CUT = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout)


class _RefusedError(Exception):
    """What came is not what was asked for."""


def transfer(addresses: Sequence[str], target: Path, digest: str, progress: Progress | None = None) -> str:
    """Download a file, trying the addresses in turn.

    A connection that is cut is taken up again where it broke, where the server can do that. The file appears
    under its name when it is complete, has the right sum and, if it is an archive, no entry that leads out of it.

    Args:
        addresses: where it may come from.
        target: where it goes; a file there is replaced.
        digest: ``"md5:…"`` or ``"sha256:…"``.
        progress: told how far it is.

    Returns:
        The address that it came from.

    Raises:
        DataError: saying for each address why it did not give the file, or that the disk is full. Nothing is left.
    """
    reasons = []
    for address in addresses:
        receive = _Receiver(target.name, digest, progress)
        try:
            with _quiet_pooch():
                pooch.retrieve(address, digest, fname=target.name, path=target.parent, downloader=receive)
            return address
        except (_RefusedError, requests.RequestException, ValueError) as error:
            reasons.append(f"{address}: {_say(error)}")
        except OSError as error:
            raise DataError(
                f"cannot write {target}: {error.strerror or error}: free some space there, or choose another place "
                "with the environment variable METACORTEX_CACHE; nothing half-written was left"
            ) from error
    raise DataError("; ".join(reasons) or f"no address is known for {target.name}")


def has_sum(path: Path, digest: str) -> bool:
    """Whether a file is there and its sum is ``"md5:…"`` or ``"sha256:…"``."""
    kind, _, value = digest.partition(":")
    return path.is_file() and pooch.file_hash(str(path), alg=kind) == value


class _Receiver:
    """What `pooch.retrieve` calls to fill its temporary file, which it removes when this raises."""

    def __init__(self, name: str, digest: str, progress: Progress | None) -> None:
        self._name, self._digest, self._progress = name, digest, progress

    def __call__(self, fname: str, action: Any, pooch: Any, *, check_only: bool | None = None) -> None:
        # pooch's names: the address, the file to fill, and nothing that is needed here
        path = Path(action)
        with open(path, "wb") as file:
            for tries in range(1, _TRIES + 1):
                try:
                    self._receive(fname, file)
                    break
                except _CUT:
                    if tries == _TRIES:
                        raise
        self._check(path)

    def _receive(self, url: str, file: IO[bytes]) -> None:
        done = file.tell()
        headers = {"Accept-Encoding": "identity", "User-Agent": "metacortex"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as answer:
            answer.raise_for_status()
            if done and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                done = 0  # the server sends everything again
                file.seek(0)
                file.truncate()
            length = int(answer.headers.get("Content-Length") or 0)
            total = done + length if length else 0
            for piece in answer.iter_content(1 << 16):
                file.write(piece)
                done += len(piece)
                if done > LARGEST:
                    raise _RefusedError(f"more than {LARGEST} bytes were sent")
                if self._progress is not None:
                    self._progress(self._name, done, total)
        file.flush()
        if done < total:
            raise requests.ConnectionError(f"the connection was cut after {done} of {total} bytes")

    def _check(self, path: Path) -> None:
        with open(path, "rb") as file:
            start = file.read(512).lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            raise _RefusedError("a web page came instead of the file")
        if not has_sum(path, self._digest):
            raise _RefusedError(f"the file that came ({path.stat().st_size} bytes) has a wrong sum")
        try:
            if self._name.endswith(".zip"):
                with open_zip(path) as archive:
                    safe_entries(archive)
            elif self._name.endswith((".tar", ".tar.gz", ".tgz")):
                with open_tar(path) as archive:
                    safe_members(archive)
        except DataError as error:
            raise _RefusedError(str(error).replace(str(path), self._name)) from None


def _say(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        text = str(error)
        return text if text.startswith("the connection was cut") else "no connection"
    return " ".join(str(error).split())


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
