"""metacortex and other libraries, side by side.

    python -m benchmarks.side_by_side [--quick] [--case TEXT] [--no-compile] [--memory] [--out FOLDER]

Each contender's meta-gradient is first compared with that of the plain autograd loop in float64; then all are timed in
turns. One line per case: how many times as long the best peer takes, median over the rounds and spread.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from pathlib import Path

import torch

from benchmarks.side_by_side.cases import CASES
from benchmarks.side_by_side.libraries import LIBRARIES
from benchmarks.side_by_side.measure import CaseResult, compare, peak_memory, worker
from benchmarks.side_by_side.ours import OURS
from benchmarks.side_by_side.plain import PLAIN
from benchmarks.side_by_side.report import write
from benchmarks.side_by_side.steps_memory import MEMORY, memory_case, slopes
from metacortex.engine.memory import keep_freed_memory

CONTENDERS = (*OURS, *PLAIN, *LIBRARIES)


def machine() -> dict[str, object]:
    """Where and with what it was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "load_before": load,
        "commit": commit,
    }


def _print(result: CaseResult) -> None:
    print(result.line(), flush=True)
    for row in result.rows:
        agrees = "" if row.gap is None else f"gap {row.gap:.0e}"
        if row.reason is not None:
            print(f"    {row.contender:<26} –: {row.reason}")
            continue
        extra = f", compiled in {row.compiling:.0f} s" if row.compiling else ""
        extra += f", pays after {row.break_even} steps" if row.break_even is not None else ""
        extra += f", peak +{row.peak_mib:.0f} MiB" if row.peak_mib is not None else ""
        print(f"    {row.contender:<26} {1000 * row.median:9.3f} ms  {agrees}{extra}")


def _memory(steps: list[int], names: list[str]) -> list[dict[str, object]]:
    peaks = []
    for name in names:
        for k in steps:
            mib = peak_memory(f"{MEMORY}{k}", name)
            peaks.append({"contender": name, "steps": k, "mib": mib})
            print(f"memory K={k:<4} {name:<22} " + ("failed" if mib is None else f"+{mib:.0f} MiB"), flush=True)
    return peaks


def _find_case(name: str):
    if name.startswith(MEMORY):
        return memory_case(int(name.removeprefix(MEMORY)))
    return next(c for c in CASES if c.name == name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a subset, sized for two minutes")
    parser.add_argument("--case", action="append", default=[], help="cases whose name holds this text (repeatable)")
    parser.add_argument("--no-compile", action="store_true", help="leave out what compiles")
    parser.add_argument("--memory", action="store_true", help="peak memory of each contender, and against K")
    parser.add_argument("--seconds", type=float, default=0.0, help="timed seconds per case")
    parser.add_argument("--out", type=Path, help="folder for results.json, table.md and ratios.png")
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "CONTENDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(_find_case(options.worker[0]), next(c for c in CONTENDERS if c.name == options.worker[1]))
        return
    keep_freed_memory()  # for all contenders alike: they share the process
    about, results = machine(), []
    print(", ".join(f"{k} {v}" for k, v in about.items()), flush=True)
    chosen = [c for c in CASES if (not options.quick or c.quick) and _named(c.name, options.case)]
    for case in chosen:
        compiles = not options.no_compile and (case.small or not options.quick)
        who = [c for c in CONTENDERS if compiles or "compile" not in c.name]
        result = compare(case, who, PLAIN[0], seconds=options.seconds or (4.0 if options.quick else 30.0))
        if options.memory:
            for row in result.rows:
                row.peak_mib = None if row.reason else peak_memory(case.name, row.contender)
        _print(result)
        results.append(result)
    peaks = []
    if options.memory and not options.quick:
        peaks = _memory([1, 5, 10, 50, 100], ["metacortex loop", "autograd loop"])
        for name, slope in slopes(peaks).items():
            print(f"{name}: {slope:.2f} times the bytes of the adapted parameters per further inner step")
    if options.out:
        write(options.out, about, results, peaks)


def _named(name: str, texts: list[str]) -> bool:
    return not texts or any(text.lower() in name.lower() for text in texts)


if __name__ == "__main__":
    main()
