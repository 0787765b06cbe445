"""The report of a run: what it learned from, how it went, what it reached, what it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metacortex.errors import DataError, MetacortexError
from metacortex.evaluation.results import EvaluationResult, load_result
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.reports.page import Matrix, Page, Picture, Section, Table, write_page
from metacortex.reports.pictures import draw_functions, draw_reliability, show_tasks
from metacortex.reports.translation_report import scored_sets, translation_sections
from metacortex.runs.domain import open_domain
from metacortex.runs.folder import RunFolder
from metacortex.runs.log import read_log
from metacortex.translation.translator import TextRun

__all__ = [
    "REPORT_FILE",
    "diagnosis_sections",
    "run_page",
    "settings_section",
    "task_sections",
    "training_section",
    "write_run_report",
]

REPORT_FILE = "report.html"


def write_run_report(run: Path | str) -> Path:
    """Write ``report.html`` into a run folder.

    Args:
        run: the run folder.

    Returns:
        Where it is.

    Raises:
        RunError: if the run cannot be read, or the page not be written.
    """
    folder = RunFolder.open(run)
    return write_page(run_page(folder.path), folder.path / REPORT_FILE)


def run_page(run: Path | str) -> Page:
    """The report of a run as a page.

    Raises:
        RunError: if the run cannot be read.
    """
    folder = RunFolder.open(run)
    info = folder.info()
    results = _results(folder)
    name = info["learner"]["name"]
    sections = [
        scored_sets(folder) or _measured(results),
        training_section(folder),
        *_diagnoses(results, info["data"]["name"]),
        *task_sections(folder),
        _protocol(info),
        settings_section(folder),
    ]
    data = info["data"]["name"]
    lead = f"Trained on {data}, tasks: {info['protocol'].get('train') or 'none'}."
    return Page(f"{name} on {data}", lead, [section for section in sections if section is not None])


def _results(folder: RunFolder) -> list[EvaluationResult]:
    found = []
    for path in sorted((folder.path / "eval").glob("*.json")):
        try:
            found.append(load_result(path))
        except MetacortexError:
            continue  # of another kind, e.g. whole test sets of a translator
    return found


def _measured(results: list[EvaluationResult]) -> Section | None:
    if not results:
        return Section("Results", text="Nothing was measured yet: metacortex evaluate measures a run on test tasks.")
    rows = [
        [result.metric, result.figure, str(len(result.scores)), _ece(result), result.protocol] for result in results
    ]
    columns = ["score", "mean ± 95 % interval", "tasks", "calibration error", "protocol"]
    return Section("Results", tables=[Table(columns, rows)])


def _ece(result: EvaluationResult) -> str:
    return f"{100 * result.diagnosis['ece']:.1f} %" if result.diagnosis else "-"


def training_section(folder: RunFolder) -> Section | None:
    """How training went; ``None`` for a run that nothing was logged of."""
    lines = read_log(folder.log_path)
    if not lines:
        return None
    last = lines[-1]
    text = f"{last['step']} steps in {last.get('seconds', 0) / 60:.1f} minutes; last loss {last.get('loss', 0):.4f}."
    pictures = []
    if folder.curves_path.is_file():
        caption = "Training loss and validation score over the steps."
        pictures = [Picture(folder.curves_path.read_bytes(), caption, chart=True)]
    return Section("Training", text=text, pictures=pictures)


def settings_section(folder: RunFolder) -> Section:
    """All settings of a run."""
    return Section("Settings", code=folder.config_path.read_text(encoding="utf-8"))


def _diagnoses(results: list[EvaluationResult], data: str) -> list[Section]:
    """Of the result with the most tasks, of the data that the run was trained on where there is one."""
    if not results:
        return []
    whole = max(results, key=lambda r: (bool(r.diagnosis), r.details.get("data") == data, len(r.scores)))
    return diagnosis_sections(whole)


def diagnosis_sections(result: EvaluationResult) -> list[Section]:
    """Calibration and confusions of a result; none if they were not looked at."""
    if not result.diagnosis:
        return []
    where = f"{result.details.get('data')}, {result.details.get('way')}-way {result.details.get('shot')}-shot"
    picture = Picture(
        draw_reliability(result.diagnosis["reliability"]),
        f"How often answers were right, by the probability that the learner gave them ({where}); on the dashed line "
        "probabilities mean what they say.",
        chart=True,
    )
    return [Section("How sure, and how right", pictures=[picture]), _confusions(result.diagnosis, where)]


def _confusions(diagnosis: Mapping[str, Any], where: str) -> Section:
    title, matrix = "What is taken for what", diagnosis.get("matrix")
    if not diagnosis["confusions"]:
        return Section(title, text=f"No query was taken for another class ({where}).")
    if matrix:
        caption = "Rows: the class that was shown; columns: what it was taken for. Bold is right."
        note = "A query can only be taken for a class of its own task, which are drawn anew for each."
        return Section(title, text=where, matrices=[Matrix(matrix["classes"], matrix["rows"], caption)], note=note)
    rows = [
        [c["shown"], c["taken_for"], f"{c['count']} of {c['of']} ({100 * c['count'] / c['of']:.0f} %)"]
        for c in diagnosis["confusions"]
    ]
    note = "How often a query of the one class was taken for the other, of all queries of the class in any task."
    return Section(title, text=where, tables=[Table(["shown", "taken for", "how often"], rows)], note=note)


def task_sections(folder: RunFolder, numbers: Sequence[int] = (0, 1, 2)) -> list[Section]:
    """What a run's learner makes of some test tasks, where the run's data is still there to draw them from."""
    info = folder.info()
    try:
        if info["learner"].get("kind") == "translation":
            return translation_sections(TextRun(folder.path))
        loaded = load_run(folder.path)
        domain = open_domain(loaded.settings.data, folder.path)
        if domain.fingerprint != info["data"]["fingerprint"] or "test" not in domain.splits:
            return []
        return _drawn(loaded, domain, numbers)
    except MetacortexError:
        return []


def _drawn(loaded: LoadedRun, domain: Any, numbers: Sequence[int]) -> list[Section]:
    tasks = domain.tasks("test", loaded.settings.data)
    if domain.kind == "regression":
        picture = Picture(draw_functions(loaded.learner, tasks, numbers), _FUNCTIONS, chart=True)
        return [Section("Test tasks", pictures=[picture])]
    if domain.kind == "classification" and len(domain.input_shape) == 3:
        try:
            return [Section("Test tasks", text=_TASKS, galleries=show_tasks(loaded.learner, tasks, numbers))]
        except DataError:
            pass  # too few classes for a task
    return []


_FUNCTIONS = (
    "Test functions: what the learner says before it has seen an example, after adapting to the support points "
    "(shaded: two of the deviations that it predicts, where it predicts any), and the truth."
)
_TASKS = (
    "Tasks of classes that were not trained on: an example of each class as the learner was shown it, then its "
    "answers to some queries, half of them mistakes where there are as many."
)


def _protocol(info: Mapping[str, Any]) -> Section:
    protocol, machine = info["protocol"], info.get("machine", {})
    rows = [
        ["data", str(protocol.get("data"))],
        ["training tasks", str(protocol.get("train"))],
        ["validation tasks", str(protocol.get("val"))],
        ["norm policy", str(info.get("norm"))],
        ["engine", str(info.get("strategy"))],
        ["sum of the data", str(info["data"]["fingerprint"])[:16]],
        ["versions", ", ".join(f"{name} {version}" for name, version in info["versions"].items())],
        ["machine", f"{machine.get('system', '-')}, {machine.get('threads', '-')} threads"],
        ["started", str(info.get("started"))],
        ["command", " ".join(info.get("command") or [])],
    ]
    return Section("Protocol", tables=[Table(["", ""], rows)])
