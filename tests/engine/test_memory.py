"""How much memory there is: of the machine, of control groups, of the process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metacortex.engine.memory import available_memory, keep_freed_memory, overhead

GIB = 2**30


def fake(root: Path, **files: str) -> Path:
    """Files of a machine with 8 GiB available; ``__`` in a name stands for a slash."""
    files = {"proc__meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n"} | files
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_what_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(fake(tmp_path)) == 8 * GIB


def test_every_group_above_counts(tmp_path: Path) -> None:
    files = {"proc__self__cgroup": "0::/job/step\n", "sys__fs__cgroup__job__step__memory.max": "max\n"}
    files |= {"sys__fs__cgroup__job__memory.max": f"{4 * GIB}\n", "sys__fs__cgroup__job__memory.current": f"{3 * GIB}"}
    root = fake(tmp_path, **files, **{"sys__fs__cgroup__job__step__memory.current": f"{3 * GIB}"})
    assert available_memory(root) == GIB
    (root / "sys/fs/cgroup/job/memory.stat").write_text(f"anon 5\ninactive_file {GIB}\n")
    assert available_memory(root) == 2 * GIB
    (root / "sys/fs/cgroup/job/memory.current").write_text(f"{6 * GIB}")
    assert available_memory(root) == 0


def test_groups_of_version_one(tmp_path: Path) -> None:
    folder = "sys__fs__cgroup__memory__job__memory"
    files = {f"{folder}.limit_in_bytes": f"{2 * GIB}\n", f"{folder}.usage_in_bytes": f"{GIB}\n"}
    root = fake(tmp_path, proc__self__cgroup="7:cpu,cpuacct:/job\n5:memory:/job\n", **files)
    assert available_memory(root) == GIB


def test_this_machine_tells() -> None:
    size = available_memory()
    assert size is None or 10_000_000 < size < 2**50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_kept_memory_has_a_larger_overhead() -> None:
    assert 1 < overhead(kept=False) < overhead(kept=True) < 2
    if keep_freed_memory():
        assert overhead() == overhead(kept=True)
    keep_freed_memory(False)
    assert overhead() == overhead(kept=False)
