"""Compiling C and loading it, once for each machine.

What the machine's compiler makes of a source lies in the cache folder, under a name that depends on the sources, the
compiler and the processor. Without a C compiler there is none, and who asks does without.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from metacortex.cache import cache_dir
from metacortex.native.processor import processor_flags

__all__ = ["NativeError", "compiled"]

_FLAGS = ("-O3", "-fno-math-errno", "-shared", "-fPIC")
_OWN_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())
"""Compilers disagree on what to call it; tried in turn."""

_PATIENCE = 120
"""Seconds; a compiler takes one."""


class NativeError(Exception):
    """A source could not be compiled or loaded; those who ask for it know another way."""


_lock = threading.Lock()
"""Threads that need the same library wait for it."""

_failed: dict[Path, str] = {}
"""What was tried in vain is not tried again and again."""


def _unlock() -> None:
    """In a forked process, where the thread that held the lock is not."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def compiled(source: Path, **defined: str) -> ctypes.CDLL:
    """The library made of a C source.

    Args:
        source: one file of C; it may include headers of its folder.
        defined: macros and their values.

    Raises:
        NativeError: without a compiler, with ``METACORTEX_NATIVE=0``, or where compiling or loading fails; it says
            which.
    """
    if os.environ.get("METACORTEX_NATIVE") == "0":
        raise NativeError("METACORTEX_NATIVE=0 turns it off")
    if os.name == "nt":
        raise NativeError("compilers on Windows do not align vectors as the kernels need them")
    compiler = _compiler()
    if compiler is None:
        raise NativeError("there is no C compiler (cc, gcc or clang, or what CC names)")
    with _lock:
        try:
            path = _place(compiler, source, defined)
            if path in _failed:
                raise NativeError(_failed[path])
            return _loaded_or_made(path, compiler, source, defined)
        except (OSError, subprocess.SubprocessError) as error:
            raise NativeError(str(error)) from error


def _loaded_or_made(path: Path, compiler: tuple[str, ...], source: Path, defined: dict[str, str]) -> ctypes.CDLL:
    if path.is_file():
        _refuse_foreign(path)
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged: compiled again
            path.unlink()
    try:
        _compile(compiler, source, defined, path)
        return ctypes.CDLL(str(path))
    except (NativeError, OSError, subprocess.SubprocessError) as error:
        _failed[path] = str(error)
        raise


def _compiler() -> tuple[str, ...] | None:
    """A program and its first arguments."""
    for name in [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]:
        words = shlex.split(name)
        if words and (found := shutil.which(words[0])):
            return found, *words[1:]
    return None


def _place(compiler: tuple[str, ...], source: Path, defined: dict[str, str]) -> Path:
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    settings = repr((compiler, _FLAGS, _OWN_PROCESSOR, sorted(defined.items()))).encode()
    key = hashlib.sha256(b"\0".join([*texts, settings, _machine(compiler)])).hexdigest()
    return cache_dir() / "compiled" / "native" / f"{source.stem}-{key[:20]}.so"


@cache
def _machine(compiler: tuple[str, ...]) -> bytes:
    """Compiler and processor; a cache folder may be shared by machines with other ones."""
    command = [*compiler, "--version"]
    version = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True).stdout
    flags = " ".join(sorted(processor_flags() or ()))
    system = f"{platform.system()} {platform.libc_ver()} {platform.machine()} {platform.processor()} {flags}"
    return b"\0".join([version, system.encode()])


def _compile(compiler: tuple[str, ...], source: Path, defined: dict[str, str], path: Path) -> None:
    """Compile beside its place and move it there, whoever else does the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    macros = [f"-D{name}={value}" for name, value in defined.items()]
    said = ""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        for own in _OWN_PROCESSOR:
            command = [*compiler, *_FLAGS, *own, *macros, str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
            if done.returncode == 0:
                made.chmod(0o700)
                made.replace(path)
                return
            said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
    raise NativeError(f"{' '.join(compiler)} cannot compile {source.name}: {said.splitlines()[0]}")


def _refuse_foreign(path: Path) -> None:
    """What others can write is not run, as it would be with the rights of whoever loads it."""
    for place in (path, path.parent):
        known = place.stat()
        if known.st_uid not in (os.geteuid(), 0) or known.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NativeError(f"others may write to {place}: remove it, or choose another METACORTEX_CACHE")
