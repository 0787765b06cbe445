"""``metacortex evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metacortex.cli.evaluate_translation import draw_curves_of, score_sets
from metacortex.cli.options import TRANSLATION, Device, Json, Precision, Quiet, Threads, examples
from metacortex.cli.output import bar, emit, tell
from metacortex.errors import RunError, SettingsError

if TYPE_CHECKING:
    from metacortex.evaluation.results import EvaluationResult

__all__ = ["add_to", "evaluate_command"]

_TASKS = 600
"""Test tasks unless another number is asked for."""

_EPILOG = examples(
    [
        "evaluate runs/proto",
        "evaluate runs/proto --data digits --way 10 --shot 5",
        "evaluate runs/maml --norm query-batch --json",
        "evaluate runs/proto --data omniglot_challenge --views 16",
        "evaluate runs/tuned --split val --set tune_steps=50",
        "evaluate runs/meta --split test_2017_flickr --pairs en-fr,en-de --beam 5",
        "evaluate runs/meta --against runs/multilingual",
        "evaluate runs/meta --shots 0,1,5,10,50,200 --pairs new_test --against runs/multilingual --out curves",
    ],
    """What is not given is that of the run. The tasks are fixed: the same for every learner, so that results can
    be compared pair by pair. With --json: accuracy (mean over tasks, 0 to 1), ci95 (half width of its 95 %
    interval), tasks, loss, protocol (data, data_protocol, split, way, shot, queries, seed, norm,
    inner_steps, description; precision if it is not float32),
    fingerprint (results with the same one are of the same tasks), learner, checkpoint, scores (accuracy of each
    task), run, saved (its path; null if it could not be written). A run that translates is scored over whole sets:
    bleu, chrf, exact (means over the pairs),
    bleu_shuffled_description, bleu_wrong_description, bleu_empty_description, bleu_unseen_wording, pairs (the same
    for each), protocol, learner, run, saved; with --against also against (for each run and, last, all together: run,
    bleu, against_bleu, difference, ci95, worse: share of the resamples without an advantage). With --shots: protocol,
    curves (label, learner, run, points: shot, bleu, chrf, exact, difference to the first, cells), files.""",
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
    shot: Annotated[
        int | None, typer.Option(min=0, help="Support examples per class; example pairs.", show_default=False)
    ] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Query examples per class.", show_default=False)] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Number of test tasks.")] = _TASKS,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the test tasks.", show_default=False)] = None,
    norm: Annotated[str | None, typer.Option(help="Another batch-norm policy.", show_default=False)] = None,
    inner_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Another number of inner steps (gradient-based learners).", show_default=False),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    views: Annotated[
        int,
        typer.Option(min=1, help="Average the answers over so many views of the images."),
    ] = 1,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value of a setting of the learner.")
    ] = None,
    pairs: Annotated[
        str,
        typer.Option(rich_help_panel=TRANSLATION, help="Directed pairs, or held_out, new_test.", show_default=False),
    ] = "",
    beam: Annotated[int, typer.Option(min=1, rich_help_panel=TRANSLATION, help="Hypotheses kept; 1 is greedy.")] = 1,
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", rich_help_panel=TRANSLATION, help="Told by words, pairs, both or none.", show_default=False
        ),
    ] = None,
    sentences: Annotated[
        int | None,
        typer.Option(
            min=0, rich_help_panel=TRANSLATION, help="The first so many of a pair; 0: all.", show_default=False
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--most-pairs", min=0, rich_help_panel=TRANSLATION, help="Pairs at most; 0: all.", show_default=False
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            rich_help_panel=TRANSLATION,
            help="Another run, or a report it kept, on the same sentences.",
            show_default=False,
        ),
    ] = None,
    shots: Annotated[
        str, typer.Option(metavar="N,N…", rich_help_panel=TRANSLATION, help="A curve over numbers of example pairs.")
    ] = "",
    topics: Annotated[
        str, typer.Option(metavar="N,N…", rich_help_panel=TRANSLATION, help="Topics for the curve to keep within.")
    ] = "",
    tune_steps: Annotated[
        int | None,
        typer.Option(
            min=0, rich_help_panel=TRANSLATION, help="Updates of fine-tuning in the curve.", show_default=False
        ),
    ] = None,
    tune_lr: Annotated[
        float | None,
        typer.Option(min=0, rich_help_panel=TRANSLATION, help="Learning rate of these updates.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", rich_help_panel=TRANSLATION, help="Where the curve goes.", show_default=False),
    ] = None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy with a 95 % interval on fixed test tasks; the score of each task is kept in the run folder."""
    from metacortex.evaluation.run import evaluate_run, keep_result
    from metacortex.reports.run_report import write_run_report
    from metacortex.runs.folder import RunFolder
    from metacortex.training.trainer import limited_threads

    asked = {"pairs": pairs, "describe": describe, "sentences": sentences, "most": most, "against": against or []}
    drawn = {"topics": topics, "tune_steps": tune_steps, "tune_lr": tune_lr}
    if not shots:
        _refuse({**drawn, "out": out}, "is for the curve that --shots draws")
    if RunFolder.open(run).info().get("learner", {}).get("kind") == "translation":
        sizes = {"data": data, "protocol": protocol, "way": way, "queries": queries, "seed": seed}
        others = {"norm": norm, "inner-steps": inner_steps, "views": views - 1 or None, "set": assignments}
        others |= {"tasks": tasks - _TASKS or None, "precision": None if precision == "float32" else precision}
        _refuse({**sizes, **others}, "is for runs on images or functions, this one translates")
        options = {**asked, "split": split, "beam": beam, "shot": shot, "checkpoint": checkpoint, "device": device}
        with limited_threads(threads):
            if shots:
                draw_curves_of(run, {**options, **drawn, "shots": shots}, out, as_json=as_json, quiet=quiet)
            else:
                score_sets(run, options, as_json=as_json, quiet=quiet)
            write_run_report(run)
        return
    asked |= {"most-pairs": asked.pop("most"), "beam": beam - 1 or None}
    _refuse({**asked, "shots": shots}, "is for runs that translate, this one is on images or functions")
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
            views=views,
            options=_options(assignments or []),
            device=device,
            precision=precision,
            save=False,
            progress=progress,
        )
    failure = None
    try:
        result = keep_result(RunFolder.open(run), result)
        write_run_report(run)
    except RunError as error:
        failure = error  # a figure that took minutes is shown all the same
    _show(run, result, as_json=as_json)
    if failure is not None:
        raise failure


def _refuse(flags: dict[str, Any], why: str) -> None:
    for name, value in flags.items():
        if value not in (None, "", []):
            raise SettingsError(f"--{name.replace('_', '-')} {why}")


def _show(run: Path, result: EvaluationResult, *, as_json: bool) -> None:
    saved = None if result.path is None else str(result.path)
    if as_json:
        emit("evaluate", {**result.to_json(), "run": str(run), "saved": saved})
        return
    tell(f"{result.learner}: {result.metric} {result.figure} (95 % interval, {len(result.scores)} tasks)")
    tell(f"protocol: {result.protocol}")
    if saved:
        tell(f"kept in {saved}")


def _options(texts: list[str]) -> dict[str, str]:
    """Settings by name, as texts."""
    found = {}
    for text in texts:
        key, equals, value = text.removeprefix("learner.").partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"--set {text}: expected key=value, e.g. tune_steps=50")
        found[key.strip()] = value.strip()
    return found


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate", epilog=_EPILOG)(evaluate_command)
