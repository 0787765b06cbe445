"""Kernels are compiled ahead, and runs say whether there are any."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metacortex.native import kernels, library
from metacortex.native.kernels import compile_ahead, kernel_lanes, kernels_note

FOLDER = Path(kernels.__file__).parent
C = sorted(FOLDER.glob("*.c"))


def test_without_kernels_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_NATIVE", "0")
    compile_ahead().join()
    assert kernels_note() == "PyTorch's: METACORTEX_NATIVE=0 turns it off"
    kernel_lanes.cache_clear()


def test_only_some_types_have_kernels() -> None:
    assert kernel_lanes(torch.bfloat16) == 0
    assert kernels_note(torch.bfloat16) == "PyTorch's: there are no kernels for torch.bfloat16"


needs_compilers = pytest.mark.skipif(not (shutil.which("cc") and shutil.which("c++")), reason="no C and C++ compiler")


@needs_compilers
def test_who_needs_them_waits_for_those_that_are_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_lanes(torch.float32) > 0  # operations cannot be registered twice in a process
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path))
    kernel_lanes.cache_clear()
    compile_it, made = library._compile, []

    def slowly(compiler: tuple[str, ...], source: Path, defined: dict[str, str], path: Path) -> None:
        made.append(source.name)
        compile_it(compiler, source, defined, path)

    monkeypatch.setattr(library, "_compile", slowly)
    thread = compile_ahead()
    assert kernels_note() == "C"
    thread.join()
    assert sorted(made) == [path.name for path in C]
    assert kernel_lanes(torch.float32) % 4 == 0


@needs_compilers
def test_without_cpp_there_are_none(tmp_path: Path) -> None:
    """In a process of its own, which has nothing yet."""
    program = (
        "import torch; from metacortex.native.kernels import kernel_lanes, kernels_note; "
        "print(kernel_lanes(torch.float32), kernels_note())"
    )
    environment = {**os.environ, "CXX": "no-such-compiler", "METACORTEX_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ("0 PyTorch's: there is no C++ compiler (c++, g++ or clang++, or what CXX names)\n")


@needs_compilers
@pytest.mark.parametrize("source", C, ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_c_compilers_have_nothing_to_say(source: Path, dtype: torch.dtype) -> None:
    macros = [f"-D{name}={value}" for name, value in kernels._MACROS[dtype].items()]
    assert said_by("cc", "-std=gnu11", *macros, str(source)) == ""


@needs_compilers
def test_cpp_compilers_have_nothing_to_say() -> None:
    # Operations must take arguments by value that they have no use for changing.
    assert said_by("c++", *library._cpp().flags, "-Wno-unused-parameter", str(FOLDER / "operations.cpp")) == ""


def said_by(*command: str) -> str:
    command = (*command, "-Wall", "-Wextra", "-fsyntax-only")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr or ("" if done.returncode == 0 else f"exit status {done.returncode}")


@needs_compilers
def test_tensors_that_a_kernel_would_misread_are_refused() -> None:
    assert kernel_lanes(torch.float32) > 0
    operations = torch.ops.metacortex
    x, w, ones = torch.zeros(1, 16, 4, 4), torch.zeros(16, 16, 3, 3), torch.ones(16)
    operations.convolution(x, w, 1)
    with pytest.raises(TypeError, match=r"a kernel for Float on cpu got Double on cpu"):
        operations.convolution(x, w.double(), 1)
    with pytest.raises(TypeError, match=r"no kernels for BFloat16"):
        operations.convolution(x.bfloat16(), w.bfloat16(), 1)
    with pytest.raises(TypeError, match=r"got Double on cpu"):
        operations.normed_pool(x, ones, ones.double(), 1e-5)
    with pytest.raises(TypeError, match=r"no kernels for Half"):
        operations.maxima(x.half())
