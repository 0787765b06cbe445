"""What was measured as JSON, as tables and as pictures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.case import NOT_ASKED
from benchmarks.side_by_side.measure import CaseResult, Row, milliseconds
from benchmarks.side_by_side.steps_memory import Peak, slopes

__all__ = ["memory_table", "peers_table", "table", "write"]


def _spread(ratios: Sequence[float]) -> str:
    return f"**{statistics.median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f})" if ratios else "–"


def _timed(row: Row | None) -> str:
    return "–" if row is None else f"{milliseconds(row.median)} ms ({row.contender.removeprefix('metacortex ')})"


def _beside(result: CaseResult, row: Row | None) -> str:
    return "–" if row is None else f"{statistics.median(result.ratios(row)):.1f}"


def table(results: Sequence[CaseResult]) -> str:
    """A Markdown table, one row per case."""
    lines = [
        "| case | metacortex | best peer | ratio (spread) | goal | to the best library | to peers as installed "
        "| in bf16 | memory, MiB: ours / peer |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        mine, peer = result.best(ours=True), result.best(ours=False)
        memory = " / ".join("–" if r is None or r.peak_mib is None else f"{r.peak_mib:.0f}" for r in (mine, peer))
        low = result.ratios(rounded=True)
        rounded = f"{statistics.median(low):.1f}" if low else "–"
        lines.append(
            f"| {result.case} | {_timed(mine)} | {_timed(peer)} | {_spread(result.ratios())} "
            f"| {f'{result.goal:g}' if result.goal else '–'} | {_beside(result, result.library())} "
            f"| {_beside(result, result.best(ours=False, installed=True))} | {rounded} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def peers_table(results: Sequence[CaseResult]) -> str:
    """A Markdown table of every contender's milliseconds; notes below it say why one is missing."""
    names = list(dict.fromkeys(r.contender for result in results for r in result.rows))
    lines = [f"| case | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    notes: dict[str, list[str]] = {}
    for result in results:
        cells = []
        for name in names:
            row = next((r for r in result.rows if r.contender == name), None)
            if row is None or not row.seconds:
                cells.append("–")
                if row is not None and row.reason not in (None, NOT_ASKED):
                    notes.setdefault(f"{name}: {row.reason}", []).append(result.case)
                continue
            compiled = f", compiled in {row.compiling:.0f} s" if row.compiling else ""
            pays = f", pays after {row.break_even} steps" if row.break_even is not None else ""
            cells.append(f"{milliseconds(row.median)}{compiled}{pays}")
        lines.append(f"| {result.case} | {' | '.join(cells)} |")
    said = [f"- {note} ({', '.join(cases)})" for note, cases in notes.items()]
    return "\n".join([*lines, "", *said]) + "\n"


def memory_table(peaks: Sequence[Peak]) -> str:
    """A Markdown table of MiB, one row per contender."""
    steps = sorted({p.steps for p in peaks})
    lines = [
        f"| MiB | {' | '.join(f'K = {k}' for k in steps)} | per further step, × adapted parameters |",
        "|---" * (len(steps) + 2) + "|",
    ]
    slope = slopes(peaks)
    for name in dict.fromkeys(p.contender for p in peaks):
        mine = {p.steps: p for p in peaks if p.contender == name}
        cells = ["–" if k not in mine or mine[k].mib is None else f"{mine[k].mib:.0f}" for k in steps]
        lines.append(f"| {name} | {' | '.join(cells)} | {f'{slope[name]:.2f}' if name in slope else '–'} |")
    return "\n".join(lines) + "\n"


def write(
    folder: Path, about: Mapping[str, object], results: Sequence[CaseResult] = (), peaks: Sequence[Peak] = ()
) -> None:
    """Write ``results.json``, the tables ``*.md`` and the pictures ``ratios.png`` and ``memory.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "version": 2,
        "machine": about,
        "cases": [r.to_json() for r in results],
        "memory": [asdict(p) for p in peaks],
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if results:
        (folder / "table.md").write_text(table(results), encoding="utf-8")
        (folder / "peers.md").write_text(peers_table(results), encoding="utf-8")
    if peaks:
        (folder / "memory.md").write_text(memory_table(peaks), encoding="utf-8")
        _memory_picture(folder / "memory.png", peaks)
    _picture(folder / "ratios.png", [r for r in results if r.ratios()])


def _picture(path: Path, results: Sequence[CaseResult]) -> None:
    from matplotlib.figure import Figure

    if not results:
        return
    figure = Figure(figsize=(8, 1.6 + 0.36 * len(results)), layout="constrained")
    axes = figure.subplots()
    rows, ratios = range(len(results)), [r.ratios() for r in results]
    axes.barh(rows, [statistics.median(x) for x in ratios], color="#4878a8", label="best peer, median")
    axes.hlines(rows, [min(x) for x in ratios], [max(x) for x in ratios], color="#555555", label="lowest to highest")
    marks = {
        "best library": ("o", "#d1713c", [_median(r.ratios(r.library())) if r.library() else None for r in results]),
        "best peer, metacortex in bf16": ("D", "#3f8f5b", [_median(r.ratios(rounded=True)) for r in results]),
        "goal": ("|", "black", [r.goal or None for r in results]),
    }
    for name, (marker, colour, values) in marks.items():
        found = [(x, row) for row, x in enumerate(values) if x is not None]
        if found:
            size = 14 if marker == "|" else 6
            axes.plot(*zip(*found, strict=True), marker, color=colour, markersize=size, linestyle="", label=name)
    axes.set_yticks(rows, [r.case for r in results])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times as long as metacortex")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=5, fontsize="small", frameon=False)
    figure.savefig(path, dpi=120)


def _median(ratios: Sequence[float]) -> float | None:
    return statistics.median(ratios) if ratios else None


def _memory_picture(path: Path, peaks: Sequence[Peak]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(p.contender for p in peaks):
        mine = [(p.steps, p.mib) for p in peaks if p.contender == name and p.mib is not None]
        axes.plot([k for k, _ in mine], [mib for _, mib in mine], marker="o", label=name)
    axes.set_xlabel("inner steps K")
    axes.set_ylabel("peak memory of one task, MiB")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
