"""Kernels are compiled ahead, and runs say whether there are any."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

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

    def slowly(compiler: tuple[str, ...], source: Path, defined: dict[str, str], path: Path) -> ctypes.CDLL:
        made.append(source.name)
        return compile_it(compiler, source, defined, path)

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


@needs_compilers
def test_signs_that_are_yet_to_be_turned_are_turned() -> None:
    assert kernel_lanes(torch.float32) > 0
    x, z = torch.randn(4, 16, 6, 6), torch.randn(16, 16, 3, 3, dtype=torch.complex64).conj()
    assert z.imag.is_neg()
    got = torch.ops.metacortex.convolution(x, z.imag, 1)
    torch.testing.assert_close(got, torch.conv2d(x, z.imag.resolve_neg(), padding=1), rtol=1e-4, atol=1e-4)


@needs_compilers
def test_what_only_stands_for_a_tensor_is_refused() -> None:
    assert kernel_lanes(torch.float32) > 0
    x, w = torch.randn(4, 16, 6, 6), torch.randn(16, 16, 3, 3)
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match="only stands for a tensor"):
        torch.ops.metacortex.convolution(x, w, 1)


PROGRAM = """
import numpy, os, signal, torch
from metacortex.nn.winograd import Conv2d
torch.set_num_threads(2)
layer, x = Conv2d(64, 64, 3, padding=1), torch.randn(80, 64, 14, 14).contiguous(memory_format=torch.channels_last)
layer(x)
before = torch.ops.metacortex.convolution(x, layer.weight.detach(), 1)
child = os.fork()
if not child:
    signal.alarm(20)
    after = torch.ops.metacortex.convolution(x, layer.weight.detach(), 1)
    os._exit(0 if numpy.allclose(after.numpy(), before.numpy()) else 1)  # PyTorch's own would wait
print(os.waitpid(child, 0)[1])
"""


@needs_compilers
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_processes_do_not_wait_for_threads_they_have_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@needs_compilers
def test_the_process_ends_while_kernels_are_compiled(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 30\nexit 1\n")
    slow.chmod(0o700)
    program = "import time; from metacortex.native.kernels import compile_ahead; compile_ahead(); time.sleep(1)"
    environment = {**os.environ, "CC": str(slow), "CXX": str(slow), "METACORTEX_CACHE": str(tmp_path / "cache")}
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 25
