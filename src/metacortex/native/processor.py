"""What the processor can do."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

__all__ = ["processor_flags"]


@cache
def processor_flags() -> frozenset[str] | None:
    """The processor's abilities as Linux names them; ``None`` where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    name = "Features" if platform.machine() == "aarch64" else "flags"
    found = next((line.partition(":")[2].split() for line in lines if line.startswith(name)), None)
    return None if found is None else frozenset(found)
