"""Lines of text, whatever is in the file: one line, one sentence, never one more or less than the file has."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from pathlib import Path
from typing import Literal

from metacortex.errors import DataError, unknown_name

__all__ = ["MAX_BYTES", "BadText", "clean", "decode_line", "read_bytes", "read_lines", "split_lines"]

BadText = Literal["refuse", "replace"]

MAX_BYTES = 1 << 30
"""Files that hold more text than this, unpacked, are refused."""

# Invisible characters that carry no text: controls (those that separate words are left to `str.split`),
# directional marks, the soft hyphen, byte-order marks. Joiners (U+200C, U+200D) stay: scripts need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_LONE = re.compile("[\ud800-\udfff]")
_WIDE = (b"\xff\xfe", b"\xfe\xff")


def clean(text: str) -> str:
    """A line as the library keeps it: composed (NFC), no invisible characters, single spaces, none at the ends.

    Text of any script passes; half of a surrogate pair, which no file can hold, becomes U+FFFD.

    Args:
        text: anything; line breaks count as spaces.

    Returns:
        The cleaned text, empty where nothing visible was in it.

    Example:
        >>> clean("  un\\u00a0cafe\\u0301 \\x07 noir\\n")
        'un café noir'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", _LONE.sub("\ufffd", text))
    return " ".join(_INVISIBLE.sub("", text).split())


def decode_line(data: bytes) -> str:
    """One line of input as clean text; bytes that are no UTF-8 become U+FFFD.

    Example:
        >>> decode_line(b"caf\\xe9\\n")
        'caf\ufffd'
    """
    return clean(data.decode("utf-8", errors="replace"))


def split_lines(data: bytes, name: str, bad: BadText = "refuse") -> list[str]:
    """The lines of a text file, not cleaned.

    Only a line feed ends a line: other characters that some programs take for a line end (form feed, U+2028) would
    shift all lines after them against those of the other languages.

    Args:
        data: the content.
        name: what to call the file in errors.
        bad: what to do with bytes that are no UTF-8: ``"refuse"``, or ``"replace"`` each by U+FFFD.

    Returns:
        One text per line; empty lines stay, as ``""``.

    Raises:
        DataError: naming the file, line and byte that is no UTF-8.
        SettingsError: for another value of `bad`.
    """
    if bad not in ("refuse", "replace"):
        raise unknown_name("treatment of bad text", bad, ("refuse", "replace"))
    if data.startswith(_WIDE):
        raise DataError(f"{name} is written in UTF-16, expected UTF-8: save or convert it as UTF-8")
    try:
        text = data.decode("utf-8-sig", errors="strict" if bad == "refuse" else "replace")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8 ({error.reason}): convert the file to "
            "UTF-8, or read it with bad_text='replace'"
        ) from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def read_bytes(path: Path) -> bytes:
    """The content of a file, plain or packed by gzip (told by its first bytes, not by its name).

    Raises:
        DataError: naming the file, if it is missing, damaged or too large.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut-short gzip file ({error}): copy or download it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} holds more than {MAX_BYTES >> 20} MiB of text: split it")
    return data


def read_lines(path: Path, bad: BadText = "refuse") -> list[str]:
    """The cleaned lines of a text file, plain or packed by gzip.

    Raises:
        DataError: naming the file, if it is missing, damaged, too large, or no UTF-8 (with the line).
    """
    return [clean(line) for line in split_lines(read_bytes(path), str(path), bad)]
