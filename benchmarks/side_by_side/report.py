"""What was measured as JSON, as a table and as a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.measure import CaseResult

__all__ = ["table", "write"]


def table(results: Sequence[CaseResult]) -> str:
    """A Markdown table, one row per case."""
    lines = ["| case | metacortex | best peer | ratio (spread) | goal |", "|---|---|---|---|---|"]
    for result in results:
        mine, peer, ratios = result.best(ours=True), result.best(ours=False), result.ratios()
        ours = "–" if mine is None else f"{1000 * mine.median:.3g} ms ({mine.contender.split()[-1]})"
        theirs = "–" if peer is None else f"{1000 * peer.median:.3g} ms ({peer.contender})"
        ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})" if ratios else "–"
        lines.append(f"| {result.case} | {ours} | {theirs} | {ratio} | {f'{result.goal:g}' if result.goal else '–'} |")
    return "\n".join(lines) + "\n"


def write(
    folder: Path, about: dict[str, object], results: Sequence[CaseResult], peaks: Sequence[dict[str, Any]]
) -> None:
    """Write ``results.json``, ``table.md`` and ``ratios.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": 1, "machine": about, "cases": [r.to_json() for r in results], "memory": list(peaks)}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(results), encoding="utf-8")
    _picture(folder / "ratios.png", [r for r in results if r.ratios()])


def _picture(path: Path, results: Sequence[CaseResult]) -> None:
    from matplotlib.figure import Figure

    if not results:
        return
    figure = Figure(figsize=(8, 1 + 0.45 * len(results)))
    axes = figure.add_axes((0.36, 0.2, 0.6, 0.75))
    for row, result in enumerate(results):
        ratios = result.ratios()
        axes.barh(row, statistics.median(ratios), color="#4878a8")
        axes.plot([min(ratios), max(ratios)], [row, row], color="#555555")
        if result.goal:
            axes.plot([result.goal], [row], marker="|", markersize=14, color="black")
    axes.set_yticks(range(len(results)), [r.case for r in results])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("time of the best peer / time of metacortex (bar: goal)")
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)
