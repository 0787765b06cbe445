"""The report of a comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from metacortex.comparison.run import Comparison, Entrant, load_comparison
from metacortex.comparison.table import score_name, score_tables
from metacortex.errors import MetacortexError
from metacortex.reports.page import Page, Picture, Section, Table, write_page
from metacortex.reports.run_report import (
    REPORT_FILE,
    diagnosis_sections,
    settings_section,
    task_sections,
    training_section,
)
from metacortex.runs.folder import RunFolder

__all__ = ["comparison_page", "write_comparison_report"]


def write_comparison_report(folder: Path | str) -> Path:
    """Write ``report.html`` into the folder of a finished comparison.

    Raises:
        RunError: if there is none, or the page cannot be written.
    """
    comparison = load_comparison(folder)
    return write_page(comparison_page(comparison), comparison.path / REPORT_FILE)


def comparison_page(comparison: Comparison) -> Page:
    """A comparison as a page."""
    plan = comparison.plan
    budget = f"{plan.steps} steps" if plan.steps else f"{plan.minutes:g} minutes"
    differences = []
    for entrant in comparison.entrants:
        for cell in plan.cells:
            gap = comparison.advantage(entrant.learner, cell)
            if gap is None or entrant.learner == plan.yardstick:
                continue
            factor = 1 if plan.functions else 100
            verdict = "better" if (gap.mean > 0) != plan.functions else "worse"
            differences.append(
                [
                    entrant.learner,
                    str(cell),
                    f"{factor * gap.mean:+.2f} ± {factor * gap.half:.2f}",
                    verdict if gap.excludes_zero else "no clear difference",
                ]
            )
    curves = comparison.path / "curves.png"
    pictures = (
        [Picture(curves.read_bytes(), "Score against the number of examples.", chart=True)] if curves.is_file() else []
    )
    functions = comparison.path / "functions.png"
    if functions.is_file():
        pictures.append(Picture(functions.read_bytes(), "Three test functions, before and after adapting.", chart=True))
    refused = [[e.learner, str(cell), why] for e in comparison.entrants for cell, why in e.refused.items()]
    sections = [
        Section(
            "Scores",
            tables=[
                Table(part.header, part.rows, f"{part.data}: {score_name(comparison)} ± 95 % interval")
                for part in score_tables(comparison)
            ],
            note=f"A star: the paired difference to {plan.yardstick} on the same tasks excludes 0.",
        ),
        Section("Examples needed", pictures=pictures),
        Section(
            f"Beside {plan.yardstick}, task by task",
            tables=[Table(["learner", "tasks", "mean difference", ""], differences)],
        ),
        *([Section("Not served", tables=[Table(["learner", "tasks", "why"], refused)])] if refused else []),
        *[section for entrant in comparison.entrants for section in _of_learner(comparison, entrant)],
        Section("Protocol", tables=[Table(["tasks", "protocol"], _protocols(comparison))]),
        Section("Plan", code=json.dumps(plan.to_json(), indent=1)),
    ]
    lead = f"Each was trained for {budget} on {plan.data} and tested on the same {plan.tasks} tasks per column."
    return Page(f"{len(comparison.entrants)} learners on {plan.data}", lead, sections)


def _of_learner(comparison: Comparison, entrant: Entrant) -> list[Section]:
    """How one learner was trained, how sure it is, what it confuses and what it makes of a task."""
    measured = next((result for result in entrant.results.values() if result.diagnosis), None)
    diagnosis = [] if measured is None else diagnosis_sections(measured)
    try:
        folder = RunFolder.open(comparison.path / "runs" / entrant.learner)
        parts = [training_section(folder), *diagnosis, *task_sections(folder, numbers=(0,)), settings_section(folder)]
    except (MetacortexError, OSError):
        parts = [*diagnosis]  # The run was deleted: what was measured is still shown.
    return [replace(part, title=f"{entrant.learner}: {part.title.lower()}") for part in parts if part is not None]


def _protocols(comparison: Comparison) -> list[list[str]]:
    """For each column of the table, how it was measured; learners may differ by their batch-norm policy."""
    found: dict[str, dict[str, None]] = {}
    for entrant in comparison.entrants:
        for cell, result in entrant.results.items():
            found.setdefault(str(cell), {})[result.protocol] = None
    return [[cell, "; or ".join(protocols)] for cell, protocols in found.items()]
