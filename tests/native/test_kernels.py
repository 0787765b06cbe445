"""Kernels are compiled ahead, and runs say whether there are any."""

from __future__ import annotations

import shutil
import subprocess
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

    def slowly(compiler: tuple[str, ...], source: Path, defined: dict[str, str], path: Path) -> None:
        made.append(source.name)
        compile_it(compiler, source, defined, path)

    monkeypatch.setattr(library, "_compile", slowly)
    thread = compile_ahead()
    assert kernels_note() == "C"
    thread.join()
    assert sorted(made) == [path.name for path in sorted(Path(kernels.__file__).parent.glob("*.c"))]
    assert Library("winograd.c", torch.float32).lanes % 4 == 0


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("source", sorted(Path(kernels.__file__).parent.glob("*.c")), ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_compilers_have_nothing_to_say(source: Path, dtype: torch.dtype) -> None:
    macros = [f"-D{name}={value}" for name, value in kernels._MACROS[dtype].items()]
    done = subprocess.run(
        ["cc", "-std=gnu11", "-Wall", "-Wextra", "-fsyntax-only", *macros, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_tensors_that_a_kernel_would_misread_are_refused() -> None:
    own = Library("pooled.c", torch.float32, pool_values="pppnnnnn")
    x, y, places = torch.zeros(1, 2, 2, 16), torch.zeros(1, 1, 1, 16), torch.zeros(1, 1, 1, 16, dtype=torch.int8)
    own.pool_values(x, y, places, 2, 2, 16, 0, 1)
    with pytest.raises(TypeError, match=r"for torch\.float32 on a CPU got .*float64"):
        own.pool_values(x.double(), y, places, 2, 2, 16, 0, 1)
