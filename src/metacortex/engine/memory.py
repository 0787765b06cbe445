"""How this process gives memory back: not at once."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_AS_LARGE_AS_AN_INT_GOES = 2_000_000_000


def keep_freed_memory() -> bool:
    """Have the allocator keep freed blocks for the next tensors of the same size.

    glibc maps every large block afresh and unmaps it when it is freed, so each activation of each
    training step is paid for in page faults: a third of a Conv4 step on a CPU. The peak memory of
    the process stays about the same; what was used once stays with the process until it ends, which
    is why the command line asks for this and ``import metacortex`` does not.

    Returns:
        Whether the C library took the settings; False where it is not glibc.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    taken = [mallopt(option, _AS_LARGE_AS_AN_INT_GOES) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)]
    return all(taken)
