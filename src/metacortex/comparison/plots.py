"""A comparison as pictures: the score against the number of examples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from metacortex.comparison.plan import Cell
from metacortex.comparison.run import Comparison
from metacortex.comparison.table import score_name
from metacortex.evaluation.run import load_run
from metacortex.reports.pictures import plot_function
from metacortex.runs.domain import open_domain
from metacortex.runs.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_comparison"]


def draw_comparison(comparison: Comparison) -> list[Path]:
    """Write ``curves.png`` and ``curves.svg``: a panel per data source, a line per learner.

    A comparison on functions also gets ``functions.png`` and ``functions.svg``: what each learner says of three test
    functions before and after adapting, beside the truth.

    Returns:
        Where they are.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    plan = comparison.plan
    sources = (plan.data, *plan.transfer)
    factor = 1 if plan.functions else 100
    figure = Figure(figsize=(1.6 + 4.2 * len(sources), 4.2), layout="constrained")
    panels = figure.subplots(1, len(sources), squeeze=False, sharey=True)[0]
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for panel, source in zip(panels, sources, strict=True):
        for number, entrant in enumerate(comparison.entrants):
            found = [(shot, entrant.results.get(Cell(source, shot))) for shot in plan.shots]
            points = [(shot, result) for shot, result in found if result is not None]
            panel.errorbar(
                [shot for shot, _ in points],
                [factor * result.mean for _, result in points],
                yerr=[factor * result.ci95 for _, result in points],
                label=entrant.learner,
                color=colours[number % len(colours)],
                marker="o",
                markersize=3,
                capsize=2,
            )
        panel.set_xscale("log")
        panel.set_xticks(plan.shots, [str(shot) for shot in plan.shots])
        panel.minorticks_off()
        seen = "what was learned from" if source == plan.data else "transfer"
        panel.set(title=f"{source} ({seen})", xlabel="examples per class")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(score_name(comparison))
    panels[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return [
        *_written(figure, comparison, "curves"),
        *(_draw_functions(comparison) if plan.functions and comparison.measured else []),
    ]


def _draw_functions(comparison: Comparison, tasks: int = 3) -> list[Path]:
    """``functions.png`` and ``functions.svg``: prior, adapted function and truth, a row per learner."""
    from matplotlib.figure import Figure

    entrants = comparison.measured
    count = len(entrants)
    figure = Figure(figsize=(3.6 * tasks, 2.6 * count), layout="constrained")
    rows = figure.subplots(count, tasks, squeeze=False, sharex=True, sharey="col")
    for row, entrant in zip(rows, entrants, strict=True):
        run = load_run(comparison.path / "runs" / entrant.learner)
        source = open_domain(run.settings.data).tasks("test", run.settings.data)
        for number, axes in enumerate(row):
            plot_function(axes, run.learner, source, number)
        row[0].set_ylabel(entrant.learner)
    rows[0][-1].legend(fontsize=7)
    return _written(figure, comparison, "functions")


def _written(figure: Figure, comparison: Comparison, name: str) -> list[Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = []
    for suffix, canvas, call in (("png", FigureCanvasAgg, "print_png"), ("svg", FigureCanvasSVG, "print_svg")):
        buffer = io.BytesIO()
        getattr(canvas(figure), call)(buffer)
        path = comparison.path / f"{name}.{suffix}"
        write_file(path, buffer.getvalue())
        written.append(path)
    return written
