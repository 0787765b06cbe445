"""``metacortex demo``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from metacortex.cli.options import Json
from metacortex.cli.output import emit, note, table, tell

if TYPE_CHECKING:
    from metacortex.demo.main import DemoProgress, DemoResult

__all__ = ["add_to", "demo_command"]

_EPILOG = """Examples:

metacortex demo

metacortex demo --minutes 10 --out demo"""


def demo_command(
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Nominal time on two slow cores; the number of steps follows it.")
    ] = 3.0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the picture.")] = Path("runs/demo"),
    as_json: Json = False,
) -> None:
    """Train four learners on glyphs, compare them on scripts and digits they have never seen, draw a task."""
    from metacortex.demo.main import run_demo

    with _progress() as show:
        result = run_demo(minutes, out, show)
    if as_json:
        emit("demo", result.to_json())
    else:
        _print(result)


def _print(result: DemoResult) -> None:
    rows = [
        [
            row.title,
            str(row.results["glyphs"].interval),
            str(row.results["digits"].interval),
            row.norm or "-",
            f"{row.seconds:.0f} s",
        ]
        for row in result.rows
    ]
    scripts = result.row("protonet").results["glyphs"]
    columns = ["learner", "held-out scripts", "real handwriting (digits)", "norm", "training"]
    table(f"Accuracy on 5-way 1-shot tasks, mean ± 95 % interval over {len(scripts.accuracy)} tasks", columns, rows)
    for learner in ("protonet", "maml"):
        for other in ("nearest_neighbour", "fine_tuning"):
            title, than = result.row(learner).title, result.row(other).title
            tell(f"{title} minus {than}, on the same held-out tasks: {result.advantage(learner, other)}")
    tell(f"one task, drawn: {result.picture}")
    tell(f"all of it took {result.seconds:.0f} s; teach the learner symbols of your own:")
    tell(f"  metacortex adapt {result.runs / 'protonet'} FOLDER --out my.skill    (one sub-folder per class)")


@contextmanager
def _progress() -> Iterator[DemoProgress]:
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        seen: set[str] = set()

        def line(what: str, share: float, detail: str) -> None:
            if what not in seen:
                seen.add(what)
                note(f"[{100 * share:3.0f} %] {what}")

        yield line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task("", total=1.0, detail="")
        yield lambda what, share, detail: bar.update(row, description=what, completed=share, detail=detail)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo", epilog=_EPILOG)(demo_command)
