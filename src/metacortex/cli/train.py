"""``metacortex train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metacortex.cli.options import Json, Quiet, examples, parse_assignments
from metacortex.cli.output import emit, note, tell
from metacortex.errors import SettingsError

if TYPE_CHECKING:
    from metacortex.engine.distributed import Ranks
    from metacortex.settings import RunSettings
    from metacortex.training.run import RunResult

__all__ = ["FIRST_LOOK_MINUTES", "add_to", "train_command"]

FIRST_LOOK_MINUTES = 3.0
"""Budget of a run on sentences where none was given."""

_EPILOG = examples(
    [
        "train protonet --data omniglot --way 5 --shot 1 --minutes 30 --out runs/proto",
        "train maml --data glyphs --steps 2000 --inner-lr 0.4 --out runs/maml",
        "train metalstm",
        "train --config run.toml --set training.lr=0.001 --out runs/mine",
        "train --resume --out runs/proto",
    ],
    """What is not given is as `metacortex settings LEARNER` prints it; the run keeps all of it in config.toml. More
    cores or machines: torchrun --nproc-per-node 4 -m metacortex train ...; the tasks of each step are shared.
    Ctrl-C finishes the step, saves and says how to go on. With --json: run, learner, steps, seconds,
    score (name of the validation score), best_score (an accuracy lies in 0 to 1; null without validation),
    best_step, finished, interrupted, strategy, compiling (seconds).""",
)

_FLAGS = {
    "learner": "learner.name",
    "norm": "learner.norm",
    "inner_lr": "learner.inner_lr",
    "inner_steps": "learner.inner_steps",
    "order": "learner.order",
    "backbone": "backbone.name",
    "data": "data.name",
    "protocol": "data.protocol",
    "way": "data.way",
    "shot": "data.shot",
    "queries": "data.queries",
    "train_way": "data.train_way",
    "size": "data.size",
    "rotations": "data.rotations",
    "steps": "training.steps",
    "minutes": "training.minutes",
    "tasks": "training.tasks",
    "lr": "training.lr",
    "seed": "training.seed",
    "strategy": "training.strategy",
    "device": "training.device",
    "precision": "training.precision",
    "micro_tasks": "training.micro_tasks",
    "micro_queries": "training.micro_queries",
    "workers": "training.workers",
    "threads": "training.threads",
}
"""Flag -> setting. Values go through as given: the settings check them, here as in a file."""


def _flag(name: str, help: str, panel: str, metavar: str = "NAME") -> Any:
    return typer.Option(f"--{name}", help=help, rich_help_panel=panel, metavar=metavar, show_default=False)


def train_command(
    context: typer.Context,
    learner: Annotated[
        str | None,
        typer.Argument(metavar="[LEARNER]", help="Which learner; see `metacortex learners`.", show_default=False),
    ] = None,
    out: Annotated[Path | None, _flag("out", "Folder of the run; runs/LEARNER if not given.", "Run", "FOLDER")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the run in --out; more --steps or --minutes extend it.", rich_help_panel="Run"
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel="Run")
    ] = False,
    config: Annotated[
        Path | None,
        _flag(
            "config", "Settings in a TOML file, as `metacortex settings` prints them; flags override it.", "Run", "FILE"
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any setting of `metacortex settings`, e.g. learner.distance=cosine.",
            rich_help_panel="Run",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        _flag("steps", "Budget in meta-steps (bit-reproducible); 5000 if no budget is given.", "Budget", "N"),
    ] = None,
    minutes: Annotated[str | None, _flag("minutes", "Budget in minutes.", "Budget", "X")] = None,
    seed: Annotated[str | None, _flag("seed", "Seed of weights and training tasks; 0.", "Budget", "N")] = None,
    data: Annotated[
        str | None,
        _flag(
            "data",
            "Data source (a name, see `metacortex data list`, or a folder), or a family of functions; glyphs.",
            "Tasks",
        ),
    ] = None,
    protocol: Annotated[
        str | None, _flag("protocol", "Split protocol of the source, see `metacortex data show NAME`.", "Tasks")
    ] = None,
    rotations: Annotated[
        str | None, _flag("rotations", "Splits with rotated classes, e.g. train,val.", "Tasks", "SPLITS")
    ] = None,
    size: Annotated[
        str | None, _flag("size", "Side of the images in pixels; 0: the source's own.", "Tasks", "N")
    ] = None,
    way: Annotated[str | None, _flag("way", "Classes per task; 5.", "Tasks", "N")] = None,
    shot: Annotated[
        str | None, _flag("shot", "Support examples per class; 1 (functions: 10 points).", "Tasks", "N")
    ] = None,
    queries: Annotated[
        str | None, _flag("queries", "Query examples per class; 15 (functions: 10 points).", "Tasks", "N")
    ] = None,
    train_way: Annotated[
        str | None, _flag("train-way", "Classes per training task; the learner's own choice.", "Tasks", "N")
    ] = None,
    backbone: Annotated[
        str | None, _flag("backbone", "Base model: conv4, mlp, resnet12, lstm or seq2seq; as the data ask.", "Learner")
    ] = None,
    norm: Annotated[
        str | None, _flag("norm", "Batch-norm policy: support, running, query-batch, per-step.", "Learner")
    ] = None,
    inner_lr: Annotated[str | None, _flag("inner-lr", "Learning rate of the inner loop.", "Learner", "X")] = None,
    inner_steps: Annotated[str | None, _flag("inner-steps", "Steps of the inner loop.", "Learner", "N")] = None,
    order: Annotated[str | None, _flag("order", "2, or 1 for first-order MAML.", "Learner", "N")] = None,
    lr: Annotated[
        str | None, _flag("lr", "Learning rate of the outer loop (Adam); the learner's own.", "Optimisation", "X")
    ] = None,
    tasks: Annotated[
        str | None, _flag("tasks", "Tasks per meta-batch; the learner's own choice.", "Optimisation", "N")
    ] = None,
    strategy: Annotated[
        str | None,
        _flag(
            "strategy",
            "How the meta-gradient is computed: loop, vmap, compile, compile-vmap, or auto (the fastest).",
            "Optimisation",
        ),
    ] = None,
    device: Annotated[
        str | None, _flag("device", "cpu, cuda, cuda:N or auto: a GPU if there is one.", "Optimisation")
    ] = None,
    precision: Annotated[
        str | None, _flag("precision", "float32, bf16 (rounded products) or tf32 (on GPUs).", "Optimisation")
    ] = None,
    micro_tasks: Annotated[
        str | None, _flag("micro-tasks", "Tasks computed at once, to save memory; 0: all.", "Optimisation", "N")
    ] = None,
    micro_queries: Annotated[
        str | None,
        _flag("micro-queries", "Queries of a task computed at once, where exact; 0: all.", "Optimisation", "N"),
    ] = None,
    workers: Annotated[
        str | None,
        _flag("workers", "Threads that share the tasks; 1. With more, set --threads 1.", "Optimisation", "N"),
    ] = None,
    threads: Annotated[
        str | None, _flag("threads", "Threads of PyTorch; 0: as it decides.", "Optimisation", "N")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Meta-train a learner into a run folder, with live progress; the best model by validation is kept."""
    from metacortex.engine.distributed import joined

    flags = {setting: context.params[name] for name, setting in _FLAGS.items() if context.params[name] is not None}
    if learner is not None:
        from metacortex.learners.registry import canonical_name

        flags["learner.name"] = canonical_name(learner)
    folder = Path("runs") / flags["learner.name"] if out is None and learner is not None and not resume else out
    if folder is None:
        raise SettingsError("say where the run goes: --out FOLDER, e.g. --out runs/first")
    given = {**flags, **_assigned(flags, assignments or [])}
    with joined() as ranks:
        settings = ranks.tell(lambda: _planned(folder, config, given, resume=resume))
        result = _train(settings, folder, ranks, resume=resume, overwrite=overwrite, progress=not quiet)
    if ranks.first:
        if result.finished:
            from metacortex.reports.run_report import write_run_report

            write_run_report(folder)
        _report(result, as_json=as_json)
    if result.interrupted:
        raise typer.Exit(130)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train", epilog=_EPILOG)(train_command)


def _planned(folder: Path, config: Path | None, given: dict[str, Any], *, resume: bool) -> RunSettings | None:
    from metacortex.settings import with_training

    settings = _settings(folder, config, given, resume=resume)
    if settings is not None and _for_a_first_look(settings, config, given, resume=resume):
        settings = with_training(settings, steps=0, minutes=FIRST_LOOK_MINUTES)
        note(f"no budget given: {FIRST_LOOK_MINUTES:g} minutes; more with --minutes or --steps")
    return settings


def _for_a_first_look(settings: RunSettings, config: Path | None, given: dict[str, Any], *, resume: bool) -> bool:
    """Whether a run on sentences was asked for without a budget: steps would take an hour there."""
    from metacortex.settings import TextSettings

    asked = {"training.steps", "training.minutes"} & given.keys()
    return isinstance(settings.data, TextSettings) and config is None and not asked and not resume


def _assigned(flags: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    values = parse_assignments(assignments)
    for key in values:
        if key in flags:
            raise SettingsError(f"{key} is given twice: by a flag ({flags[key]}) and by --set ({values[key]})")
    return values


def _settings(out: Path, config: Path | None, given: dict[str, Any], *, resume: bool) -> RunSettings | None:
    """Flags over the file over the defaults; a run that is resumed has its own settings for defaults."""
    from metacortex.runs.folder import RunFolder
    from metacortex.settings import RunSettings, merge, read_settings

    if resume and config is None:
        folder = RunFolder(out)
        if not folder.exists() and "learner.name" in given:
            return merge(RunSettings(), given)
        folder.info()
        return merge(folder.settings(), given) if given else None
    if config is None and "learner.name" not in given:
        raise SettingsError(
            "say which learner to train, e.g. `metacortex train protonet`, or give --config or --resume"
        )
    return merge(RunSettings() if config is None else read_settings(config), given)


def _train(
    settings: RunSettings | None, out: Path, ranks: Ranks, *, resume: bool, overwrite: bool, progress: bool
) -> RunResult:
    from metacortex.runs.folder import RunFolder
    from metacortex.training.run import resume_command, train

    try:
        return train(settings, out, resume=resume, overwrite=overwrite, progress=progress, ranks=ranks)
    except KeyboardInterrupt:
        if ranks.first and RunFolder(out).exists():
            note(f"the run is kept as last saved; continue with: {resume_command(out)}")
        raise typer.Exit(130) from None


def _report(result: RunResult, *, as_json: bool) -> None:
    if result.interrupted:
        note(f"stopped and saved at step {result.step}; continue with: {result.resume_command}")
    if as_json:
        content = {
            "run": str(result.path),
            "learner": result.learner.name,
            "steps": result.step,
            "seconds": round(result.seconds, 3),
            "score": result.score,
            "best_score": result.best_score,
            "best_step": result.best_step,
            "finished": result.finished,
            "interrupted": result.interrupted,
            "strategy": result.strategy,
            "compiling": round(result.compiling, 3),
        }
        emit("train", content)
    elif result.finished:
        from metacortex.training.progress import show_score

        best = show_score(result.score, result.best_score)
        score = "" if result.best_score is None else f"; best validation score {best} at step {result.best_step}"
        how = "" if result.strategy == "loop" else f"; strategy {result.strategy}"
        how += f", of which compiling took {result.compiling:.0f} s" if result.compiling >= 1 else ""
        tell(f"{result.learner.name}: {result.step} steps in {result.seconds / 60:.1f} min{how}{score}")
        tell(f"kept in {result.path}; measure it with: metacortex evaluate {result.path}")
