"""``metacortex evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Json, Quiet, Threads, examples
from metacortex.cli.output import bar, emit, tell

__all__ = ["add_to", "evaluate_command"]

_EPILOG = examples(
    [
        "evaluate runs/proto",
        "evaluate runs/proto --data digits --way 10 --shot 5",
        "evaluate runs/maml --norm query-batch --json",
    ],
    """What is not given is that of the run. The tasks are fixed: the same for every learner, so that results can
    be compared pair by pair. With --json: accuracy (mean over tasks, 0 to 1), ci95 (half width of its 95 %
    interval), tasks, loss, protocol (data, data_protocol, split, way, shot, queries, seed, norm,
    inner_steps, description),
    fingerprint (results with the same one are of the same tasks), learner, checkpoint, scores (accuracy of each
    task), run, saved.""",
)


def evaluate_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder, as `metacortex train --out` wrote it.", show_default=False),
    ],
    data: Annotated[str | None, typer.Option(help="Another data source.", show_default=False)] = None,
    protocol: Annotated[str | None, typer.Option(help="Another split protocol.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="Whose classes: train, val or test.")] = "test",
    way: Annotated[int | None, typer.Option(min=1, help="Classes per task.", show_default=False)] = None,
    shot: Annotated[int | None, typer.Option(min=1, help="Support examples per class.", show_default=False)] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Query examples per class.", show_default=False)] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Number of test tasks.")] = 600,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the test tasks.", show_default=False)] = None,
    norm: Annotated[str | None, typer.Option(help="Another batch-norm policy.", show_default=False)] = None,
    inner_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Another number of inner steps (gradient-based learners).", show_default=False),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy with a 95 % interval on fixed test tasks; the score of each task is kept in the run folder."""
    from metacortex.evaluation.run import evaluate_run
    from metacortex.training.trainer import limited_threads

    with limited_threads(threads), bar("evaluating", show=not quiet) as progress:
        result = evaluate_run(
            run,
            data,
            way=way,
            shot=shot,
            queries=queries,
            tasks=tasks,
            split=split,
            seed=seed,
            norm=norm,
            inner_steps=inner_steps,
            protocol=protocol,
            checkpoint=checkpoint,
            progress=progress,
        )
    saved = None if result.path is None else str(result.path)
    if as_json:
        emit("evaluate", {**result.to_json(), "run": str(run), "saved": saved})
        return
    tell(f"{result.learner}: {result.metric} {result.figure} (95 % interval, {len(result.scores)} tasks)")
    tell(f"protocol: {result.protocol}")
    if saved:
        tell(f"kept in {saved}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate", epilog=_EPILOG)(evaluate_command)
