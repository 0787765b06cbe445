"""metacortex and other libraries, side by side.

    python -m benchmarks.side_by_side [--quick] [--case TEXT] [--no-compile] [--memory] [--out FOLDER]

Each contender runs in a process of its own. Its meta-gradient is first compared with that of the plain autograd loop in
float64; then all are timed in turns. One line per case: how many times as long the best peer takes, median over the
rounds and spread.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.side_by_side.case import Case, Contender
from benchmarks.side_by_side.cases import CASES
from benchmarks.side_by_side.libraries import LIBRARIES
from benchmarks.side_by_side.measure import CaseResult, compare
from benchmarks.side_by_side.ours import OURS
from benchmarks.side_by_side.plain import PLAIN
from benchmarks.side_by_side.processes import cores
from benchmarks.side_by_side.report import write
from benchmarks.side_by_side.steps_memory import measure_peaks, slopes

__all__ = ["CONTENDERS", "machine"]

CONTENDERS = (*OURS, *PLAIN, *LIBRARIES)

_MANY = ("metacortex loop", "metacortex loop, one worker", "autograd loop", "learn2learn")
"""Who is timed in cases with much work: the quickest of the others."""

_REMEMBERED = ("metacortex loop", "autograd loop", "learn2learn", "higher", "torchopt")
"""Whose memory is measured against K."""


def machine() -> dict[str, object]:
    """Where and with what it was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": cores(),
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "load_before": load,
        "commit": commit,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _print(result: CaseResult) -> None:
    print(result.line(), flush=True)
    for row in result.rows:
        agrees = "" if row.gap is None else f"gap {row.gap:.0e}"
        if row.reason is not None:
            print(f"    {row.contender:<28} –: {row.reason}")
            continue
        extra = f", compiled in {row.compiling:.0f} s" if row.compiling else ""
        extra += f", pays after {row.break_even} steps" if row.break_even is not None else ""
        extra += f", peak +{row.peak_mib:.0f} MiB" if row.peak_mib is not None else ""
        print(f"    {row.contender:<28} {1000 * row.median:9.3f} ms  {agrees}{extra}", flush=True)


def _contenders(case: Case, compiles: bool) -> Sequence[Contender]:
    chosen = [c for c in CONTENDERS if compiles or "compile" not in c.name]
    if case.many:
        chosen = [c for c in chosen if c.name.removesuffix(", as installed") in _MANY]
    return [c for c in chosen if "stock" not in c.name or case.own is not None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a subset, sized for two minutes; nothing large compiles")
    parser.add_argument("--case", action="append", default=[], help="cases whose name holds this text (repeatable)")
    parser.add_argument("--no-compile", action="store_true", help="leave out what compiles")
    parser.add_argument("--memory", action="store_true", help="peak memory against the number of inner steps, too")
    parser.add_argument("--seconds", type=float, default=0.0, help="timed seconds per case")
    parser.add_argument("--out", type=Path, help="folder for results.json, tables and pictures")
    options = parser.parse_args()
    about, results = machine(), []
    print(", ".join(f"{k} {v}" for k, v in about.items()), flush=True)
    for case in CASES:
        if (options.quick and not case.quick) or not _named(case.name, options.case):
            continue
        compiles = not options.no_compile and bool(case.compiled) and (not options.quick or "sinusoid" in case.name)
        seconds = options.seconds or (3.0 if options.quick else 15.0)
        result = compare(case, _contenders(case, compiles), PLAIN[0], seconds=seconds)
        _print(result)
        results.append(result)
        if options.out:
            write(options.out, about, results)
    peaks = []
    if options.memory:
        peaks = measure_peaks([c for c in CONTENDERS if c.name in _REMEMBERED])
        for name, slope in slopes(peaks).items():
            print(f"{name}: {slope:.2f} times the bytes of the adapted parameters per further inner step")
    if options.out:
        write(options.out, about, results, peaks)


def _named(name: str, texts: list[str]) -> bool:
    return not texts or any(text.lower() in name.lower() for text in texts)


if __name__ == "__main__":
    main()
