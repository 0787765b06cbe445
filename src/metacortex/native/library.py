"""Compiling C and loading it, once for each machine.

What the machine's compiler makes of a source lies in the cache folder, under a name that depends on the sources, the
compiler and the processor. Without a C compiler there is none, and who asks does without.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from metacortex.cache import cache_dir
from metacortex.native.processor import processor_flags

__all__ = ["NativeError", "compiled"]

_FLAGS = ("-O3", "-shared", "-fPIC")
_OWN_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())
"""Compilers disagree on what to call it; tried in turn."""

_PATIENCE = 120
"""Seconds; a compiler takes one."""

_LOCK = threading.Lock()
"""Threads that need the same library wait for it."""


class NativeError(Exception):
    """A source could not be compiled or loaded; those who ask for it know another way."""


def compiled(source: Path, **defined: str) -> ctypes.CDLL:
    """The library made of a C source.

    Args:
        source: one file of C.
        defined: macros and their values.

    Raises:
        NativeError: without a compiler, with ``METACORTEX_NATIVE=0``, or where compiling or loading fails; it says
            which.
    """
    if os.environ.get("METACORTEX_NATIVE") == "0":
        raise NativeError("METACORTEX_NATIVE=0 turns it off")
    compiler = _compiler()
    if compiler is None:
        raise NativeError("there is no C compiler (cc, gcc or clang, or what CC names)")
    try:
        texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
        key = hashlib.sha256(
            b"\0".join([*texts, repr(sorted(defined.items())).encode(), _machine(compiler)])
        ).hexdigest()
        path = cache_dir() / "compiled" / "native" / f"{source.stem}-{key[:20]}.so"
        with _LOCK:
            if path.is_file():
                with suppress(OSError):  # damaged: compiled again
                    return ctypes.CDLL(str(path))
            _compile(compiler, source, defined, path)
            return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError(str(error)) from error


@cache
def _compiler() -> str | None:
    asked = os.environ.get("CC")
    return next(
        (found for name in ([asked] if asked else ["cc", "gcc", "clang"]) if (found := shutil.which(name))), None
    )


@cache
def _machine(compiler: str) -> bytes:
    """Compiler and processor; a cache folder may be shared by machines with other ones."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=_PATIENCE, check=True).stdout
    flags = " ".join(sorted(processor_flags() or ()))
    return b"\0".join([version, f"{platform.platform()} {platform.machine()} {flags}".encode()])


def _compile(compiler: str, source: Path, defined: dict[str, str], path: Path) -> None:
    """Compile beside its place and move it there, whoever else does the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    macros = [f"-D{name}={value}" for name, value in defined.items()]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        said = ""
        for own in _OWN_PROCESSOR:
            command = [compiler, *_FLAGS, *own, *macros, str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
            if done.returncode == 0:
                os.replace(made, path)
                return
            said = done.stderr.strip() or f"exit status {done.returncode}"
    raise NativeError(f"{compiler} cannot compile {source.name}: {said.splitlines()[0]}")
