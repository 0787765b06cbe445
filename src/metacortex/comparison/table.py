"""A comparison as a table: Markdown, CSV, and rows for the terminal."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

from metacortex.comparison.plan import Cell
from metacortex.comparison.run import Comparison, Entrant
from metacortex.runs.files import write_file

__all__ = ["ScoreTable", "score_name", "score_tables", "to_csv", "to_markdown", "write_tables"]


@dataclass(frozen=True)
class ScoreTable:
    """Scores on the tasks of one data source, as texts.

    Attributes:
        data: the source.
        header: names of the columns; those of the source that all learned from also have what each learner costs.
        rows: one per learner, best at the first column of the comparison first; a star marks a paired difference
            to the yardstick that excludes 0.
    """

    data: str
    header: list[str]
    rows: list[list[str]]


def score_tables(comparison: Comparison) -> list[ScoreTable]:
    """A table for each data source, that which all learned from first, then those of the transfer."""
    plan, entrants = comparison.plan, _best_first(comparison)
    tables = []
    for data in dict.fromkeys(cell.data for cell in plan.cells):
        cells = [cell for cell in plan.cells if cell.data == data]
        own = data == plan.data
        tables.append(
            ScoreTable(
                data,
                ["learner", *(f"{cell.shot}-shot" for cell in cells), *(_COSTS if own else [])],
                [
                    [
                        e.learner,
                        *(_score(comparison, e, cell) for cell in cells),
                        *(_costs(e, plan.cells[0]) if own else []),
                    ]
                    for e in entrants
                ],
            )
        )
    return tables


_COSTS = ["ECE", "adapt", "memory", "training"]


def _best_first(comparison: Comparison) -> list[Entrant]:
    first = comparison.plan.cells[0]

    def order(entrant: Entrant) -> float:
        result = entrant.results.get(first)
        if result is None:
            return math.inf
        return -result.mean if result.higher_is_better else result.mean

    return sorted(comparison.entrants, key=order)


def _score(comparison: Comparison, entrant: Entrant, cell: Cell) -> str:
    result = entrant.results.get(cell)
    if result is None:
        return "-"
    difference = comparison.advantage(entrant.learner, cell)
    star = "*" if difference is not None and difference.excludes_zero else ""
    return f"{result.figure.removesuffix(' %')}{star}"


def _costs(entrant: Entrant, first: Cell) -> list[str]:
    """Texts for the columns of `_COSTS`."""
    result = entrant.results.get(first)
    ece = None if result is None else result.diagnosis.get("ece")
    return [
        "-" if ece is None else f"{100 * ece:.1f}",
        f"{1000 * entrant.adapt_seconds:.1f} ms",
        f"{entrant.adapt_bytes / 2**20:.1f} MiB",
        f"{entrant.train_seconds / 60:.1f} min",
    ]


def score_name(comparison: Comparison) -> str:
    """What the numbers of the table are."""
    metrics = {result.metric for entrant in comparison.entrants for result in entrant.results.values()}
    return "Accuracy in %" if metrics <= {"accuracy"} else ", ".join(sorted(metrics))


def to_markdown(comparison: Comparison) -> str:
    """The table with what was measured how."""
    plan = comparison.plan
    budget = f"{plan.steps} steps" if plan.steps else f"{plan.minutes:g} minutes"
    tasks = f"{plan.queries} query points" if plan.functions else f"{plan.way}-way, {plan.queries} queries per class"
    lines = [
        f"# {len(comparison.entrants)} learners on {plan.data}",
        "",
        f"{tasks}, {plan.tasks} fixed test tasks; every learner was "
        f"trained for {budget} on {plan.data} (seed {plan.seed}). "
        f"{score_name(comparison)} ± 95 % interval; a star: the paired "
        f"difference to {plan.yardstick} on the same tasks excludes 0. ECE in % at {plan.cells[0]}.",
        "",
    ]
    for table in score_tables(comparison):
        lines += [
            f"## {table.data}",
            "",
            "| " + " | ".join(table.header) + " |",
            "|" + "---|" * len(table.header),
            *("| " + " | ".join(row) + " |" for row in table.rows),
            "",
        ]
    for entrant in comparison.entrants:
        lines += [f"- {entrant.learner} cannot serve {cell}: {why}" for cell, why in entrant.refused.items()]
    return "\n".join(lines).rstrip() + "\n"


def to_csv(comparison: Comparison) -> str:
    """One line per learner and cell, numbers in full."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    keys = ["data", "shot", "metric", "score", "ci95", "tasks", "ece", "difference", "difference_ci95"]
    writer.writerow(["learner", *keys, "adapt_seconds", "adapt_bytes", "state_bytes", "train_seconds", "steps"])
    for row in comparison.to_json()["learners"]:
        rest = [row[key] for key in ("adapt_seconds", "adapt_bytes", "state_bytes", "train_seconds", "steps")]
        for cell in row["cells"]:
            writer.writerow([row["learner"], *(cell[key] for key in keys), *rest])
    return buffer.getvalue()


def write_tables(comparison: Comparison) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``comparison.json`` into the folder of the comparison."""
    contents = {
        "table.md": to_markdown(comparison),
        "table.csv": to_csv(comparison),
        "comparison.json": json.dumps(comparison.to_json(), indent=1, allow_nan=False),
    }
    for name, text in contents.items():
        write_file(comparison.path / name, text)
    return [comparison.path / name for name in contents]
