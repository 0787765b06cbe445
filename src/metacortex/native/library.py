"""Compiling C and C++ and loading it, once for each machine.

What the machine's compiler makes of a source lies in the cache folder, under a name that depends on the sources, the
compiler, the processor and for C++ on PyTorch. Without a compiler there is none, and who asks does without.
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
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from metacortex.cache import cache_dir
from metacortex.native.processor import processor_flags

__all__ = ["NativeError", "compiled"]


@dataclass(frozen=True)
class _Language:
    """How sources are compiled: who does it by default, and where another one may be named."""

    name: str
    variable: str
    programs: tuple[str, ...]
    flags: tuple[str, ...]
    extras: tuple[tuple[str, ...], ...]
    """More flags, tried in turn."""
    libraries: tuple[str, ...] = ()


# Compilers disagree on what to call the processor they run on.
_C = _Language(
    "C", "CC", ("cc", "gcc", "clang"), ("-O3", "-fno-math-errno"), (("-march=native",), ("-mcpu=native",), ())
)


@cache
def _cpp() -> _Language:
    """C++ against this installation of PyTorch."""
    folder = Path(torch.__file__).parent
    includes = [f"-isystem{folder / part}" for part in ("include", "include/torch/csrc/api/include")]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    # Libraries that are loaded already: they have to be named, not found.
    linux = (f"-L{folder / 'lib'}", "-ltorch_cpu", "-lc10")
    libraries = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else linux
    flags = ("-std=c++20", "-O1", abi, *includes)
    return _Language("C++", "CXX", ("c++", "g++", "clang++"), flags, (("-fopenmp",), ()), libraries)


def _language(source: Path) -> _Language:
    return _C if source.suffix == ".c" else _cpp()


_PATIENCE = 120
"""Seconds; a compiler takes one for C, and ten for C++ with PyTorch's headers."""


class NativeError(Exception):
    """A source could not be compiled or loaded; those who ask for it know another way."""


_locks = {".c": threading.Lock(), ".cpp": threading.Lock()}
"""Threads that need the same library wait for it."""

_failed: dict[Path, str] = {}
"""What was tried in vain is not tried again and again."""


def _unlock() -> None:
    """In a forked process, where the thread that held the lock is not."""
    for suffix in _locks:
        _locks[suffix] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def compiled(source: Path, **defined: str) -> ctypes.CDLL:
    """The library made of a source.

    Args:
        source: one file of C (``.c``) or C++ for PyTorch; it may include headers of its folder.
        defined: macros and their values.

    Raises:
        NativeError: without a compiler, with ``METACORTEX_NATIVE=0``, or where compiling or loading fails; it says
            which.
    """
    if os.environ.get("METACORTEX_NATIVE") == "0":
        raise NativeError("METACORTEX_NATIVE=0 turns it off")
    if os.name == "nt":
        raise NativeError("compilers on Windows do not align vectors as the kernels need them")
    language = _language(source)
    compiler = _compiler(language)
    if compiler is None:
        *some, last = language.programs
        raise NativeError(
            f"there is no {language.name} compiler ({', '.join(some)} or {last}, or what {language.variable} names)"
        )
    with _locks[source.suffix]:
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
        return _compile(compiler, source, defined, path)
    except (NativeError, OSError, subprocess.SubprocessError) as error:
        _failed[path] = str(error)
        raise


def _compiler(language: _Language) -> tuple[str, ...] | None:
    """A program and its first arguments."""
    own = os.environ.get(language.variable)
    for name in [own] if own else language.programs:
        words = shlex.split(name)
        if words and (found := shutil.which(words[0])):
            return found, *words[1:]
    return None


def _place(compiler: tuple[str, ...], source: Path, defined: dict[str, str]) -> Path:
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h*")))]
    settings = repr((compiler, _language(source), torch.__version__, sorted(defined.items()))).encode()
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


def _compile(compiler: tuple[str, ...], source: Path, defined: dict[str, str], path: Path) -> ctypes.CDLL:
    """Compile beside its place, move it there, whoever else does the same, and load it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    macros, language, said = [f"-D{name}={value}" for name, value in defined.items()], _language(source), ""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part, made = Path(folder) / "part.o", Path(folder) / path.name
        for extra in language.extras:
            # Linked without what is extra: the functions of OpenMP are those of PyTorch, whose threads they are.
            said = _run(
                *compiler, *language.flags, *extra, *macros, "-fPIC", "-c", str(source), "-o", str(part)
            ) or _run(*compiler, "-shared", str(part), "-o", str(made), *language.libraries)
            if said:
                continue
            made.chmod(0o700)
            made.replace(path)
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:  # a function is missing
                path.unlink(missing_ok=True)
                said = str(error)
    raise NativeError(f"{' '.join(compiler)} cannot compile {source.name}: {said.splitlines()[0]}")


def _run(*command: str) -> str:
    """What went wrong."""
    done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
    if done.returncode == 0:
        return ""
    return done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"


def _refuse_foreign(path: Path) -> None:
    """What others can write is not run, as it would be with the rights of whoever loads it."""
    for place in (path, path.parent):
        known = place.stat()
        if known.st_uid not in (os.geteuid(), 0) or known.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NativeError(f"others may write to {place}: remove it, or choose another METACORTEX_CACHE")
