"""``metacortex evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metacortex.cli.options import Json, Quiet, Threads, examples
from metacortex.cli.output import bar, emit, table, tell

if TYPE_CHECKING:
    from metacortex.translation.evaluate import TranslationReport

__all__ = ["add_to", "evaluate_command"]

_EPILOG = examples(
    [
        "evaluate runs/proto",
        "evaluate runs/proto --data digits --way 10 --shot 5",
        "evaluate runs/maml --norm query-batch --json",
        "evaluate runs/meta --split test_2017_flickr --pairs en-fr,en-de --beam 5",
    ],
    """What is not given is that of the run. The tasks are fixed: the same for every learner, so that results can
    be compared pair by pair. With --json: accuracy (mean over tasks, 0 to 1), ci95 (half width of its 95 %
    interval), tasks, loss, protocol (data, data_protocol, split, way, shot, queries, seed, norm,
    inner_steps, description),
    fingerprint (results with the same one are of the same tasks), learner, checkpoint, scores (accuracy of each
    task), run, saved. A run that translates is scored over whole sets: bleu, chrf, exact (means over the pairs),
    bleu_shuffled_description, bleu_wrong_description, bleu_empty_description, bleu_unseen_wording, pairs (the same
    for each), protocol, learner, run, saved.""",
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
    pairs: Annotated[
        str, typer.Option(help="Translation: directed pairs, or held_out, new_test.", show_default=False)
    ] = "",
    beam: Annotated[int, typer.Option(min=1, help="Translation: hypotheses kept; 1 is greedy.")] = 1,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy with a 95 % interval on fixed test tasks; the score of each task is kept in the run folder."""
    from metacortex.evaluation.run import evaluate_run
    from metacortex.reports.run_report import write_run_report
    from metacortex.runs.folder import RunFolder
    from metacortex.training.trainer import limited_threads

    if RunFolder.open(run).info().get("learner", {}).get("kind") == "translation":
        from metacortex.translation.evaluate import evaluate_translation

        with limited_threads(threads), bar("translating", show=not quiet) as progress:
            report = evaluate_translation(
                run, split=split, pairs=pairs, shot=shot, beam=beam, checkpoint=checkpoint, progress=progress
            )
        _show_report(run, report, as_json=as_json)
        return
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
    write_run_report(run)
    saved = None if result.path is None else str(result.path)
    if as_json:
        emit("evaluate", {**result.to_json(), "run": str(run), "saved": saved})
        return
    tell(f"{result.learner}: {result.metric} {result.figure} (95 % interval, {len(result.scores)} tasks)")
    tell(f"protocol: {result.protocol}")
    if saved:
        tell(f"kept in {saved}")


def _show_report(run: Path, report: TranslationReport, *, as_json: bool) -> None:
    saved = None if report.path is None else str(report.path)
    if as_json:
        emit("evaluate", {**report.to_json(translations=False), "run": str(run), "saved": saved})
        return
    from metacortex.data.text.corpus import show_pair
    from metacortex.translation.evaluate import FALSIFICATIONS

    def points(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    rows = [
        [show_pair(p.pair), *map(points, (p.scores.bleu, p.scores.chrf)), f"{100 * p.scores.exact:.1f}"]
        + [points(p.falsified.get(name)) for name in FALSIFICATIONS]
        for p in report.pairs
    ]
    exact = report.mean("exact")
    means = [
        "mean",
        points(report.mean("bleu")),
        points(report.mean("chrf")),
        "-" if exact is None else f"{100 * exact:.1f}",
    ]
    rows.append([*means, *(points(report.mean(name)) for name in FALSIFICATIONS)])
    names = [f"BLEU, {name.replace('_', ' ')}" for name in FALSIFICATIONS]
    table(f"{report.learner}", ["pair", "BLEU", "chrF", "exact %", *names], rows)
    tell(f"protocol: {report.protocol}")
    tell(f"{report.pairs[0].scores.bleu_signature}; {report.pairs[0].scores.chrf_signature}")
    if saved:
        tell(f"kept in {saved}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate", epilog=_EPILOG)(evaluate_command)
