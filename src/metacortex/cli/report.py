"""``metacortex report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, tell

__all__ = ["add_to", "report_command"]

_EPILOG = examples(
    ["report runs/first", "report runs/compared"],
    """train, evaluate and compare write the report as well; this verb writes it again. One file that loads nothing
    from elsewhere.""",
)


def report_command(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, or folder of a comparison.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Write report.html: results, curves, calibration, confusions, example tasks, settings, protocol."""
    from metacortex.reports.comparison_report import write_comparison_report
    from metacortex.reports.run_report import write_run_report

    write = write_comparison_report if (folder / "plan.json").is_file() else write_run_report
    path = write(folder)
    if as_json:
        emit("report", {"report": str(path)})
    else:
        tell(f"kept in {path}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report", epilog=_EPILOG)(report_command)
