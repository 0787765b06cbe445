from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metacortex.data.text.lines import clean, decode_line, read_bytes, read_lines, split_lines
from metacortex.errors import DataError, SettingsError


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert "\n" not in once
    assert "\t" not in once
    assert once == once.strip()
    once.encode()  # no half of a surrogate pair is left


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))))
def test_as_many_lines_as_line_feeds(lines: list[str]) -> None:
    """Form feeds, carriage returns and U+2028 in a line do not end it."""
    data = "".join(line + "\n" for line in lines).encode()
    assert len(split_lines(data, "x")) == len(lines)


@given(st.binary())
def test_any_bytes_become_a_line(data: bytes) -> None:
    assert clean(decode_line(data)) == decode_line(data)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Un  chien\u00a0noir\t\r\n", "Un chien noir"),
        ("e\u0301te\u0301", "été"),
        ("a\x00b\x07c\u200bd\ufeff", "abcd"),
        ("\u202bעברית\u202c", "עברית"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\ud800x", "\ufffdx"),
        ("中文 한국어", "中文 한국어"),
        (" \x85\u2028\x0c ", ""),
        ("½ …", "½ …"),
    ],
)
def test_known_answers(text: str, wanted: str) -> None:
    assert clean(text) == wanted


def test_files_plain_and_packed(tmp_path: Path) -> None:
    text = "one\n\nth\u2028ree\r\nfour".encode()
    (tmp_path / "a.en").write_bytes(text)
    (tmp_path / "b.en.gz").write_bytes(gzip.compress(text))
    (tmp_path / "c").write_bytes(b"\xef\xbb\xbf" + text)
    for name in ("a.en", "b.en.gz", "c"):
        assert read_lines(tmp_path / name) == ["one", "", "th ree", "four"]


def test_bad_utf8_is_named_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "latin.fr"
    path.write_bytes("un\ndeux\nété".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.fr, line 3: byte 0xe9 is no UTF-8 .*bad_text='replace'"):
        read_lines(path)
    assert read_lines(path, "replace") == ["un", "deux", "\ufffdt\ufffd"]
    path.write_bytes("un\n".encode("utf-16"))
    with pytest.raises(DataError, match="written in UTF-16"):
        read_lines(path, "replace")
    with pytest.raises(SettingsError, match="did you mean 'replace'"):
        read_lines(path, "replac")  # type: ignore[arg-type]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(DataError, match="cannot read"):
        read_bytes(tmp_path)
    packed = gzip.compress(b"x" * 1000)
    (tmp_path / "cut.gz").write_bytes(packed[:-9])
    with pytest.raises(DataError, match=r"cut.gz: damaged or cut-short gzip"):
        read_bytes(tmp_path / "cut.gz")
