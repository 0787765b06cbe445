"""Kernels are compiled ahead, and runs say whether there are any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from metacortex.native import kernels, library
from metacortex.native.kernels import Library, compile_ahead, kernels_note
from metacortex.native.library import NativeError


def test_without_kernels_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_NATIVE", "0")
    compile_ahead().join()
    assert kernels_note() == "PyTorch's: METACORTEX_NATIVE=0 turns it off"


def test_only_some_types_have_kernels() -> None:
    with pytest.raises(NativeError, match=r"no kernels for torch\.bfloat16"):
        Library("pooled.c", torch.bfloat16)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_who_needs_them_waits_for_those_that_are_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path))
    compile_it, made = library._compile, []

    def slowly(compiler: str, source: Path, defined: dict[str, str], path: Path) -> None:
        made.append(source.name)
        compile_it(compiler, source, defined, path)

    monkeypatch.setattr(library, "_compile", slowly)
    thread = compile_ahead()
    assert kernels_note() == "C"
    thread.join()
    assert sorted(made) == [path.name for path in sorted(Path(kernels.__file__).parent.glob("*.c"))]
    assert Library("winograd.c", torch.float32).lanes % 4 == 0
