"""C functions for tensors of one type of numbers."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from metacortex.native.library import NativeError, compiled

__all__ = ["Library", "available", "compile_ahead", "kernels_note", "known"]

Made = TypeVar("Made")

_MACROS = {
    torch.float32: {"REAL": "float", "INTEGER": "int32_t"},
    torch.float64: {"REAL": "double", "INTEGER": "int64_t"},
}
_TYPES = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "d": ctypes.c_double}


class Library:
    """A source of this folder, compiled for a type of numbers.

    Args:
        source: name of the file.
        dtype: float32 or float64.
        functions: by name the types of the arguments, a letter each: p, a tensor (its numbers one after the other, or
            an address, or ``None``), n, a whole number, or d, any number. They become attributes. Called with tensors
            without data they do nothing.

    Attributes:
        lanes: numbers of channels must be multiples of this.

    Raises:
        NativeError: where there is none.
    """

    def __init__(self, source: str, dtype: torch.dtype, **functions: str) -> None:
        if dtype not in _MACROS:
            raise NativeError(f"there are no kernels for {dtype}")
        library = compiled(Path(__file__).with_name(source), **_MACROS[dtype])
        for name, types in functions.items():
            found = getattr(library, name)  # compiled from the source beside this file: it is there
            found.argtypes, found.restype = [_TYPES[letter] for letter in types], None
            setattr(self, name, partial(_call, found, (dtype, torch.int8)))
        library.lanes.restype = ctypes.c_int64
        self.lanes: int = library.lanes()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _call(function: Any, dtypes: tuple[torch.dtype, ...], *given: Tensor | float | None) -> None:
    """Addresses say nothing of what lies there: the last place to refuse what the kernel would misread."""
    words: list[float | None] = []
    for x in given:
        if isinstance(x, Tensor):
            if not x.is_cpu or x.dtype not in dtypes:
                break
            words.append(x.data_ptr())
        else:
            words.append(x)
    else:
        function(*words)
        return
    tensors = [x for x in given if isinstance(x, Tensor)]
    if not any(x.is_meta for x in tensors):
        raise TypeError(f"a kernel for {dtypes[0]} on a CPU got {[(x.dtype, str(x.device)) for x in tensors]}")


def available(make: Callable[[torch.dtype], Made]) -> Callable[[torch.dtype], Made | None]:
    """Kernels by type of numbers, made when they are first asked for; ``None`` where there are none."""

    @cache
    def find(dtype: torch.dtype) -> Made | None:
        try:
            return make(dtype)
        except NativeError:
            return None

    return find


def known(kernels: Made | None) -> Made:
    """Those that were there when a graph was made, in its derivatives."""
    assert kernels is not None
    return kernels


def _load_all(dtype: torch.dtype) -> None:
    sources = sorted(Path(__file__).parent.glob("*.c"))
    if not sources:
        raise NativeError("the sources are not installed as files")
    for source in sources:
        compiled(source, **_MACROS[dtype])


def compile_ahead(dtype: torch.dtype = torch.float32) -> threading.Thread:
    """Begin to compile what will be needed; who needs it earlier waits. Returns the thread that does it."""

    def compile_all() -> None:
        with suppress(NativeError):
            _load_all(dtype)

    thread = threading.Thread(target=compile_all, daemon=True)
    thread.start()
    return thread


def kernels_note(dtype: torch.dtype = torch.float32) -> str:
    """By what convolutions are computed on this machine's processors, for a record."""
    try:
        _load_all(dtype)
    except NativeError as error:
        return f"PyTorch's: {error}"
    return "C"
