"""Kernels in C, as differentiable operations of PyTorch: ``torch.ops.metacortex``, see ``operations.cpp``."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F

from metacortex.native.library import NativeError, compiled

__all__ = ["compile_ahead", "kernel_lanes", "kernels_note", "kernels_take"]

_MACROS = {
    torch.float32: {"REAL": "float", "INTEGER": "int32_t"},
    torch.float64: {"REAL": "double", "INTEGER": "int64_t"},
}
_FOLDER = Path(__file__).parent


@cache
def kernel_lanes(dtype: torch.dtype) -> int:
    """Of what numbers of channels must be multiples for the operations to take tensors of a type.

    Waits for what is being compiled.

    Returns:
        That number; 0 where there are no kernels for this type, or on this machine.
    """
    try:
        return _load(dtype)
    except NativeError:
        return 0


def kernels_take(dtype: torch.dtype, *channels: int) -> bool:
    """Whether there are kernels for tensors of a type with these numbers of channels."""
    lanes = kernel_lanes(dtype)
    return lanes > 0 and all(count % lanes == 0 for count in channels)


@cache
def _operations() -> None:
    """Once in a process, as operations cannot be registered twice."""
    compiled(_FOLDER / "operations.cpp")


def _begin(function: Callable[[], None]) -> Callable[[], None]:
    """Run a function in a thread for which the process does not wait at its end.

    Returns:
        A function that waits for it, and raises what it met.
    """
    met: list[Exception] = []

    def run() -> None:
        try:
            function()
        except Exception as error:
            met.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def finish() -> None:
        thread.join()
        if met:
            raise met[0]

    return finish


def _load(dtype: torch.dtype) -> int:
    if dtype not in _MACROS:
        raise NativeError(f"there are no kernels for {dtype}")
    sources = sorted(_FOLDER.glob("*.c"))
    if not sources:
        raise NativeError("the sources are not installed as files")
    finish = _begin(_operations)  # two compilers at once
    libraries = [compiled(source, **_MACROS[dtype]) for source in sources]
    finish()
    for library in libraries:
        torch.ops.metacortex.use(library._name, dtype == torch.float64)
    _begin(partial(_test, dtype))()  # in a thread that knows nothing of the modes of the caller's
    library = libraries[0]
    library.lanes.restype = ctypes.c_int64
    return library.lanes()


def _test(dtype: torch.dtype) -> None:
    """With nobody's random numbers."""
    draw = partial(torch.randn, dtype=dtype, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    x, w = draw(1, 32, 5, 6), draw(64, 32, 3, 3)
    with torch.no_grad():
        gap = float((torch.ops.metacortex.convolution(x, w, 1) - F.conv2d(x, w, padding=1)).abs().max())
    if not gap < 1e-3:
        raise NativeError(f"the kernels compute something else here: convolutions differ by {gap:.1g}")


def compile_ahead(dtype: torch.dtype = torch.float32) -> threading.Thread:
    """Begin to compile what will be needed; who needs it earlier waits. Returns the thread that does it."""

    def begin() -> None:
        with suppress(RuntimeError):  # the interpreter ends meanwhile
            kernel_lanes(dtype)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    return thread


def kernels_note(dtype: torch.dtype = torch.float32) -> str:
    """By what convolutions are computed on this machine's processors, for a record."""
    try:
        _load(dtype)
    except NativeError as error:
        return f"PyTorch's: {error}"
    return "C"
