"""C is compiled once, and what goes wrong with it is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from metacortex.native import library
from metacortex.native.library import NativeError, compiled

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_failed", {})
    return tmp_path / "cache" / "compiled" / "native"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "seven.c"
    path.parent.mkdir()
    path.write_text("int answer(void) { return NUMBER; }\n")
    return path


@needs_compiler
def test_it_is_compiled_once(source: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled(source, NUMBER="7").answer() == 7
    made = list(own_cache.iterdir())
    assert len(made) == 1
    monkeypatch.setattr(library, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compiled(source, NUMBER="7").answer() == 7


@needs_compiler
def test_another_source_value_or_header_is_another_library(source: Path, own_cache: Path) -> None:
    assert compiled(source, NUMBER="7").answer() == 7
    assert compiled(source, NUMBER="8").answer() == 8
    source.with_name("extra.h").write_text("#define MORE 1\n")
    source.write_text('#include "extra.h"\nint answer(void) { return NUMBER + MORE; }\n')
    assert compiled(source, NUMBER="8").answer() == 9
    assert len(list(own_cache.iterdir())) == 3


@needs_compiler
def test_what_does_not_compile_says_so_and_leaves_nothing(source: Path, own_cache: Path) -> None:
    source.write_text("int answer(void) { return unknown; }\n")
    with pytest.raises(NativeError, match=r"cannot compile seven\.c: .*"):
        compiled(source)
    assert list(own_cache.iterdir()) == []


@needs_compiler
def test_a_damaged_library_is_made_again(source: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache.mkdir(parents=True, mode=0o700)
    path = library._place(library._compiler(library._C) or (), source, {"NUMBER": "7"})
    path.write_bytes(b"no library")
    path.chmod(0o700)
    assert compiled(source, NUMBER="7").answer() == 7


@needs_compiler
def test_what_failed_is_not_tried_again(source: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write_text("int answer(void) { return unknown; }\n")
    messages = []
    for _ in range(2):
        with pytest.raises(NativeError) as caught:
            compiled(source)
        messages.append(str(caught.value))
        monkeypatch.setattr(library, "_compile", lambda *_: pytest.fail("compiled again"))
    assert messages[0] == messages[1]


@needs_compiler
def test_what_others_may_write_is_not_loaded(source: Path, own_cache: Path) -> None:
    compiled(source, NUMBER="7")
    (made,) = own_cache.iterdir()
    made.chmod(0o722)
    with pytest.raises(NativeError, match="others may write to"):
        compiled(source, NUMBER="7")
    made.chmod(0o700)
    own_cache.chmod(0o777)
    with pytest.raises(NativeError, match="others may write to"):
        compiled(source, NUMBER="7")


@needs_compiler
def test_a_compiler_may_have_arguments(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -DMORE=1")
    source.write_text("int answer(void) { return NUMBER + MORE; }\n")
    assert compiled(source, NUMBER="7").answer() == 8


def test_without_a_compiler_or_where_it_is_turned_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NativeError, match="no C compiler"):
        compiled(source, NUMBER="7")
    monkeypatch.setenv("METACORTEX_NATIVE", "0")
    with pytest.raises(NativeError, match="METACORTEX_NATIVE=0"):
        compiled(source, NUMBER="7")


@needs_compiler
def test_a_folder_that_cannot_be_written_to(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "file"))
    with pytest.raises(NativeError):
        compiled(source, NUMBER="7")


@needs_compiler
def test_what_compiles_and_cannot_be_loaded_is_compiled_in_the_next_way(
    source: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text("int missing(void);\nint answer(void) { return MISSING ? missing() : NUMBER; }\n")
    monkeypatch.setattr(library, "_C", replace(library._C, extras=(("-DMISSING=1",), ("-DMISSING=0",))))
    assert compiled(source, NUMBER="7").answer() == 7
    monkeypatch.setattr(library, "_C", replace(library._C, extras=(("-DMISSING=1",),)))
    with pytest.raises(NativeError, match=r"cannot compile seven\.c: .*missing"):
        compiled(source, NUMBER="7")
    assert len(list(own_cache.iterdir())) == 1
