"""``metacortex compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metacortex.cli.options import Device, Json, Quiet, Threads, examples
from metacortex.cli.output import emit, note, table, tell
from metacortex.errors import SettingsError

__all__ = ["add_to", "compare_command"]

_EPILOG = examples(
    [
        "compare --learners protonet,maml,fine_tuning,nearest_neighbour --minutes 2 --out runs/compared",
        "compare --learners protonet,maml --data omniglot --shots 1,2,5,10 --transfer digits,glyphs --minutes 15 "
        "--set maml.learner.norm=query-batch --out runs/omniglot",
    ],
    """Every learner gets the same budget of meta-training and the same test tasks. The same command again
    continues a comparison that was interrupted; other --learners are added to it. Written: table.md, table.csv,
    comparison.json, curves.png, curves.svg, report.html, and each learner's run in runs/LEARNER.
    --set SECTION.KEY=VALUE is for all learners, --set LEARNER.SECTION.KEY=VALUE for one.""",
)


def compare_command(
    learners: Annotated[str, typer.Option(metavar="NAMES", help="Learners, with commas.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the comparison.", show_default=False)],
    data: Annotated[str, typer.Option(help="Data source that all learn from.")] = "glyphs",
    shots: Annotated[str, typer.Option(metavar="N,N…", help="Examples per class to test with.")] = "1,5",
    way: Annotated[int, typer.Option(min=2, help="Classes per task.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Query examples per class.")] = 15,
    transfer: Annotated[
        str, typer.Option(metavar="NAMES", help="Data sources to test on without learning from them.")
    ] = "",
    tasks: Annotated[int, typer.Option(min=2, help="Test tasks for each column.")] = 600,
    minutes: Annotated[float, typer.Option(min=0, help="Budget of each learner in minutes; 0: --steps.")] = 5.0,
    steps: Annotated[int, typer.Option(min=0, help="Budget of each learner in meta-steps instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial weights and training tasks.")] = 0,
    reference: Annotated[
        str, typer.Option(metavar="NAME", help="Learner the others are compared with; default: a transfer learner.")
    ] = "",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="[LEARNER.]SECTION.KEY=VALUE", help="Any setting.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learners side by side: same budget, same test tasks, curves of the score against number of examples."""
    from metacortex.comparison.plan import ComparisonPlan
    from metacortex.comparison.plots import draw_comparison
    from metacortex.comparison.run import run_comparison
    from metacortex.comparison.table import score_name, score_tables, write_tables
    from metacortex.reports.comparison_report import write_comparison_report
    from metacortex.training.trainer import limited_threads

    options, own = _assigned(assignments or [])
    if device != "auto":
        options = {"training.device": device, **options}
    plan = ComparisonPlan(
        _names(learners),
        data,
        way,
        _numbers(shots),
        queries,
        _names(transfer),
        tasks,
        steps,
        0.0 if steps else minutes,
        seed,
        reference,
        options,
        own,
    )
    with limited_threads(threads):
        comparison = run_comparison(plan, out, _teller(quiet))
    files = [*write_tables(comparison), *draw_comparison(comparison), write_comparison_report(out)]
    if as_json:
        emit("compare", {**comparison.to_json(), "files": [str(path) for path in files]})
        return
    for part in score_tables(comparison):
        learned = "" if part.data == plan.data else " (transfer)"
        table(f"{part.data}{learned}: {score_name(comparison)}, {plan.tasks} tasks", part.header, part.rows)
    tell(f"* differs from {comparison.plan.yardstick} on the same tasks (paired 95 % interval)")
    tell(f"kept in {out}: {', '.join(path.name for path in files)}")


def _teller(quiet: bool) -> Any:
    seen: set[tuple[str, str]] = set()

    def tell(who: str, share: float, what: str) -> None:
        # A line per learner and kind of work, and one for every tenth of a long training.
        key = (who, what.partition(",")[0] + str(int(10 * share)))
        if not quiet and key not in seen:
            seen.add(key)
            note(f"{who}  {100 * share:3.0f} %  {what}")

    return tell


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise SettingsError(f"--shots: expected numbers with commas, e.g. 1,5, got '{text}'") from None


def _assigned(texts: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings for all learners, and those for one."""
    common: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or len(parts) not in (2, 3) or not all(parts):
            raise SettingsError(
                f"--set {text}: expected section.key=value or learner.section.key=value, e.g. maml.learner.inner_lr=0.4"
            )
        if len(parts) == 2:
            common[".".join(parts)] = value.strip()
        else:
            own.setdefault(parts[0], {})[".".join(parts[1:])] = value.strip()
    return common, own


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare", epilog=_EPILOG)(compare_command)
