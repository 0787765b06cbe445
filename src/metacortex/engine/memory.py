"""Memory of this machine: how much there is for this process, and how the process gives it back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

__all__ = ["available_memory", "keep_freed_memory", "overhead"]

# glibc's <malloc.h>, and its defaults.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_AS_LARGE_AS_AN_INT_GOES, _DEFAULT = 2_000_000_000, 128 * 1024

_OVERHEAD, _OVERHEAD_KEPT = 1.2, 1.7
"""What a process took from the system for each byte of tensors: 1.09 to 1.23 and 1.45 to 1.91 were measured (MAML and
ProtoNet with a Conv4, 0.7 to 1.8 GiB, strategies loop and vmap, glibc 2.36)."""

_kept = False


def keep_freed_memory(keep: bool = True) -> bool:
    """Have the allocator keep freed blocks for the next tensors of the same size.

    glibc maps every large block afresh and unmaps it when it is freed, so each activation of each
    training step is paid for in page faults: a third of a Conv4 step on a CPU. Kept blocks lie in one heap
    that gets holes, so the peak of the process is higher (see `overhead`), and what was used once stays with it
    until it ends; which is why the command line asks for this and ``import metacortex`` does not.

    Args:
        keep: False goes back to what glibc does by default.

    Returns:
        Whether the C library took the settings; False where it is not glibc.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
        >>> keep_freed_memory(False) in (True, False)
        True
    """
    global _kept
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    size = _AS_LARGE_AS_AN_INT_GOES if keep else _DEFAULT
    taken = bool(mallopt(_M_MMAP_THRESHOLD, size)) and bool(mallopt(_M_TRIM_THRESHOLD, size))
    if taken:
        _kept = keep
    return taken


def overhead(kept: bool | None = None) -> float:
    """What a process takes from the system for each byte of tensors, about.

    Args:
        kept: whether freed memory is kept, which takes more; ``None``: as it is in this process.
    """
    return _OVERHEAD_KEPT if (_kept if kept is None else kept) else _OVERHEAD


def available_memory(root: Path | str = "/") -> int | None:
    """Bytes that this process can still take: of the machine, of its control groups, of its own limit.

    Args:
        root: where ``/proc`` and ``/sys`` are found.

    Returns:
        The smallest of them; ``None`` on systems that do not say.
    """
    base = Path(root)
    found = [_of_machine(base), *_of_groups(base), _of_process(base)]
    known = [size for size in found if size is not None]
    return max(min(known), 0) if known else None


def _of_machine(base: Path) -> int | None:
    size = _field(base / "proc/meminfo", "MemAvailable:")
    if size is not None:
        return size * 1024
    with contextlib.suppress(AttributeError, ValueError, OSError):
        # Not what is free, but all that there is: better than no word at all.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_groups(base: Path) -> list[int]:
    """What each control group that the process is in has left, of version 2 and of version 1."""
    found = []
    for line in _text(base / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        second = not controllers
        if not second and "memory" not in controllers.split(","):
            continue
        top = base / ("sys/fs/cgroup" if second else "sys/fs/cgroup/memory")
        limit, used, file = (
            ("memory.max", "memory.current", "inactive_file")
            if second
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            size, taken = _number(group / limit), _number(group / used)
            if size is not None and taken is not None:
                # Pages of files that nobody uses at present are given up when memory is short.
                found.append(size - taken + (_field(group / "memory.stat", file) or 0))
            if group == top:
                break
    return found


def _of_process(base: Path) -> int | None:
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _field(base / "proc/self/status", "VmSize:")
    return None if limit == resource.RLIM_INFINITY or used is None else limit - used * 1024


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int | None:
    """The number behind a name, in a file with a name on each line."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None
