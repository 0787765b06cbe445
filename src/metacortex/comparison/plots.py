"""A comparison as pictures: the score against the number of examples."""

from __future__ import annotations

import io
from pathlib import Path

from metacortex.comparison.plan import Cell
from metacortex.comparison.run import Comparison
from metacortex.comparison.table import score_name
from metacortex.runs.files import write_file

__all__ = ["draw_comparison"]


def draw_comparison(comparison: Comparison) -> list[Path]:
    """Write ``curves.png`` and ``curves.svg``: a panel per data source, a line per learner.

    Returns:
        Where they are.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
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
        seen = "the tasks' own data" if source == plan.data else "never trained on"
        panel.set(title=f"{source} ({seen})", xlabel="examples per class")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(score_name(comparison))
    panels[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    written = []
    for suffix, canvas, call in (("png", FigureCanvasAgg, "print_png"), ("svg", FigureCanvasSVG, "print_svg")):
        buffer = io.BytesIO()
        getattr(canvas(figure), call)(buffer)
        path = comparison.path / f"curves.{suffix}"
        write_file(path, buffer.getvalue())
        written.append(path)
    return written
