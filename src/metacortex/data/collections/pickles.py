"""Pickles of numpy arrays, read without running anything that they ask for.

A pickle is a program: whoever opens one with `pickle.load` runs what its author wrote. The reader here
knows a dozen names, those with which numpy's arrays and plain containers are written (by Python 2 or 3,
numpy 1 or 2), and gives stand-ins for them that only hold data. Any other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from metacortex.errors import DataError

__all__ = ["read_pickle"]

_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError),
    *(MemoryError, OverflowError, RecursionError),
)


def read_pickle(source: Path | bytes | IO[bytes], name: str | None = None) -> Any:
    """Read a pickle of arrays, dictionaries, lists, texts and numbers.

    Args:
        source: a path, the content, or an open binary file.
        name: what to call it in errors; the path when not given.

    Returns:
        What was pickled; text of Python 2 is read as Latin-1. Arrays are read-only.

    Raises:
        DataError: if the file is missing, damaged or cut short, or asks for anything else.

    Example:
        >>> read_pickle(pickle.dumps({"labels": np.arange(3)}))["labels"].tolist()
        [0, 1, 2]
    """
    title = name or (str(source) if isinstance(source, Path) else "pickle")
    try:
        if isinstance(source, Path):
            with open(source, "rb") as file:
                return _load(file, title)
        return _load(io.BytesIO(source) if isinstance(source, bytes) else source, title)
    except FileNotFoundError:
        raise DataError(f"{title}: there is no such file") from None
    except OSError as error:
        raise DataError(f"cannot read {title}: {error.strerror or error}") from None


def _load(file: IO[bytes], title: str) -> Any:
    try:
        return _settle(_Reader(file, title).load())
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"{title}: not a pickle of arrays, damaged or cut short ({type(error).__name__}: {error}): "
            "copy or download it again"
        ) from None


class _Reader(pickle.Unpickler):
    """An unpickler that gives stand-ins for the names it knows and refuses all others."""

    def __init__(self, file: IO[bytes], title: str) -> None:
        super().__init__(file, encoding="latin1")
        self._title = title

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise DataError(
                f"{self._title}: this pickle asks for {module}.{name} when it is opened, where arrays, lists, "
                "dictionaries, texts and numbers are expected: do not trust it"
            )
        return known


class _Call:
    """A function as a pickle sees it: it can be called, and nothing else can be done to it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function has no state")


class _Dtype:
    """Stands for `numpy.dtype`: a plain type of numbers or text, never objects or structures."""

    __slots__ = ("value",)

    def __init__(self, code: object = None, *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not 2 <= len(text) <= 8:
            raise ValueError(f"dtype {code!r}")
        self.value = np.dtype(text)
        if self.value.kind not in "buifSU" or self.value.itemsize == 0:
            raise ValueError(f"dtype {text!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {order!r}")
        self.value = self.value.newbyteorder(order)


class _Array:
    """Stands for `numpy.ndarray` while a pickle is read."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(raw, str):  # the bytes of Python 2
        raw = raw.encode("latin1")
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise TypeError("an array that is not written as bytes")
    if not all(isinstance(n, int) and n >= 0 for n in lengths) or math.prod(lengths) * dtype.value.itemsize != len(raw):
        raise ValueError(f"an array of shape {lengths} in {len(raw)} bytes")
    array = np.frombuffer(raw, dtype.value).reshape(lengths, order=order)
    array.flags.writeable = False
    return array


def _filled(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _array(raw, dtype, shape, order)
    return array


def _bytes(text: object = "", encoding: object = "latin1") -> bytes:
    # how protocol 2 of Python 3 writes bytes
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes that are not written as Latin-1")
    return text.encode("latin1")


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Call(_Array),
    ("numpy", "dtype"): _Call(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Call(lambda *_: _Array()),
    ("numpy.core.multiarray", "scalar"): _Call(lambda dtype, raw: _array(raw, dtype, (), "C")[()]),
    ("numpy.core.numeric", "_frombuffer"): _Call(_filled),
    ("collections", "OrderedDict"): _Call(dict),
    ("_codecs", "encode"): _Call(_bytes),
    ("__builtin__", "bytes"): _Call(_bytes),  # of nothing: b""
}


def _settle(value: Any) -> Any:
    """Put the arrays in the place of their stand-ins, in dictionaries and lists of any depth."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        box = waiting.pop()
        if not isinstance(box, dict | list) or id(box) in seen:
            continue
        seen.add(id(box))  # a list may be in itself
        for key, item in box.items() if isinstance(box, dict) else enumerate(box):
            if isinstance(item, _Array):
                box[key] = item.value
            else:
                waiting.append(item)
    return value.value if isinstance(value, _Array) else value
