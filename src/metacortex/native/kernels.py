"""C functions for tensors of one type of numbers."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from metacortex.native.library import NativeError, compiled

__all__ = ["Library"]

_MACROS = {
    torch.float32: {"REAL": "float", "INTEGER": "int32_t"},
    torch.float64: {"REAL": "double", "INTEGER": "int64_t"},
}
_TYPES = {"p": ctypes.c_void_p, "n": ctypes.c_int64}


class Library:
    """A source of this folder, compiled for a type of numbers.

    Args:
        source: name of the file.
        dtype: float32 or float64.
        functions: by name the types of the arguments, a letter each: p, an address, or n, a whole number. They
            become attributes.

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
            found = getattr(library, name)
            found.argtypes, found.restype = [_TYPES[letter] for letter in types], None
            setattr(self, name, found)
        library.lanes.restype = ctypes.c_int64
        self.lanes: int = library.lanes()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)
