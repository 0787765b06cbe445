"""The report of a comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from metacortex.comparison.run import Comparison, Entrant, load_comparison
from metacortex.comparison.table import header, rows, score_name
from metacortex.errors import MetacortexError
from metacortex.evaluation.run import load_run
from metacortex.reports.page import Page, Picture, Section, Table, write_page
from metacortex.reports.run_report import REPORT_FILE, diagnosis_sections, drawn_sections, training_section
from metacortex.runs.domain import open_domain
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
            tables=[Table(header(comparison), rows(comparison), f"{score_name(comparison)} ± 95 % interval")],
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
    path = comparison.path / "runs" / entrant.learner
    found: list[Section] = []
    try:
        folder = RunFolder.open(path)
        training = training_section(folder)
        settings = Section("Settings", code=folder.config_path.read_text(encoding="utf-8"))
        found += [section for section in (training, settings) if section is not None]
        loaded = load_run(path)
        domain = open_domain(loaded.settings.data, path)
        if domain.fingerprint == folder.info()["data"]["fingerprint"] and "test" in domain.splits:
            found[-1:-1] = drawn_sections(loaded, domain, numbers=(0,))
    except (MetacortexError, OSError):
        pass  # The run was deleted, or its data are gone: what was measured is still shown.
    measured = [result for result in entrant.results.values() if result.diagnosis]
    if measured:
        found[1:1] = diagnosis_sections(measured[0])
    return [replace(section, title=f"{entrant.learner}: {section.title.lower()}") for section in found]


def _protocols(comparison: Comparison) -> list[list[str]]:
    """For each column of the table, how it was measured; learners may differ by their batch-norm policy."""
    found: dict[str, dict[str, None]] = {}
    for entrant in comparison.entrants:
        for cell, result in entrant.results.items():
            found.setdefault(str(cell), {})[result.protocol] = None
    return [[cell, "; or ".join(protocols)] for cell, protocols in found.items()]
