"""Train a learner into a run folder, from the first step or from where a run stopped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import metacortex
from metacortex.cache import cache_dir
from metacortex.data.dataset import Dataset
from metacortex.engine.choose import choose_strategy
from metacortex.engine.compiled import compile_report, keep_machine_code
from metacortex.engine.devices import resolve_device
from metacortex.engine.distributed import Ranks
from metacortex.engine.gradient import strategy_names
from metacortex.engine.micro import check_query_chunks
from metacortex.engine.precision import PrecisionWarning, check_precision, precision_note
from metacortex.errors import DataError, LearnerError, RunError, SettingsError, unknown_name
from metacortex.evaluation.calibration import calibrate
from metacortex.native.kernels import compile_ahead
from metacortex.nn.registry import is_convolutional
from metacortex.runs.build import build_learner, describe_learner, meta_batch_size, with_size
from metacortex.runs.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from metacortex.runs.domain import Domain, open_domain
from metacortex.runs.files import find_directory
from metacortex.runs.folder import RunFolder
from metacortex.runs.images import ImageDomain
from metacortex.runs.log import read_log
from metacortex.settings import DataSettings, RunSettings, to_mapping
from metacortex.tasks.placed import place
from metacortex.training.curves import draw_curves
from metacortex.training.interrupt import stop_on_signals
from metacortex.training.preflight import foresee_memory
from metacortex.training.progress import Listener, listener, tell_waiting
from metacortex.training.record import has_convolutions, run_record
from metacortex.training.trainer import Trainer, limited_threads

if TYPE_CHECKING:
    from metacortex.learners.base import Learner

__all__ = ["RunResult", "resume_command", "train"]

_MAY_CHANGE = {"steps", "minutes", "checkpoint_every", "threads", "workers", "micro_tasks", "micro_queries", "device"}
"""Training settings that a resumed run may set anew; all others define which run it is."""


@dataclass(frozen=True)
class RunResult:
    """What training left behind.

    Attributes:
        path: the run folder.
        learner: with the best weights of the run, in evaluation mode.
        step: steps done.
        seconds: seconds of training, over all resumes.
        score: name of the score that models are chosen by, e.g. ``"accuracy"``.
        best_score: best validation score, ``None`` without validation.
        best_step: the step at which it was reached.
        finished: whether the budget is spent.
        interrupted: whether it was stopped before that.
        resume_command: the command that continues an interrupted run.
        strategy: by which the engine computed meta-gradients.
        compiling: seconds that it spent compiling, this time.
    """

    path: Path
    learner: Learner
    step: int
    seconds: float
    score: str
    best_score: float | None
    best_step: int
    finished: bool
    interrupted: bool
    resume_command: str
    strategy: str = "loop"
    compiling: float = 0.0


def resume_command(path: Path | str) -> str:
    """The command that continues a run."""
    return f"metacortex train --resume --out {path}"


def train(
    settings: RunSettings | None,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Listener = True,
    data: Dataset | None = None,
    learner: Learner | None = None,
    command: Sequence[str] | None = None,
    ranks: Ranks | None = None,
) -> RunResult:
    """Meta-train a learner and keep everything in a run folder.

    With a budget in steps the outcome is a pure function of the settings (on one device and one
    number of threads), interrupted or not. The first Ctrl-C or SIGTERM finishes the step, saves and
    returns a result with ``interrupted=True``; a second Ctrl-C interrupts at once.

    Args:
        settings: what to train; with ``resume`` ``None`` takes those of the run, and settings that
            differ from them in more than budget, checkpoints and threads are refused.
        out: the run folder.
        resume: continue the run in ``out``; a folder without a run starts one.
        overwrite: delete a run that is in ``out`` first.
        progress: True for a live display, False for silence, or a function that takes a
            `TrainingEvent` after each step (raise `KeyboardInterrupt` in it to stop).
        data: the data set, where the settings do not name one that can be loaded.
        learner: a learner of your own instead of the one in the settings; pass it again to resume. It is moved to
            the device of the settings.
        command: the command line, for the record; ``sys.argv`` when not given.
        ranks: processes that share the tasks of each step, see `metacortex.engine.distributed.joined`; each of
            them calls this with the same arguments. Process 0 alone needs the folder ``out``, and tells of progress.

    Returns:
        A `RunResult`, in every process with the same learner, on the device that it was trained on.

    Raises:
        RunError: if ``out`` cannot be used, the loss is not finite, or saving fails (the last good
            checkpoint is kept), or another process of the run has ended.
        SettingsError: for settings that cannot be used.
        DataError: for data that does not fit them.
    """
    folder, ranks = RunFolder(Path(out)), Ranks() if ranks is None else ranks
    if settings is not None and data is None:
        settings = with_size(settings)
    given = settings
    settings = ranks.tell(lambda: _settled(given, folder, resume=resume, overwrite=overwrite))
    known = ["auto", *strategy_names(compiling=True, graphs=True)]
    if settings.training.strategy not in known:
        raise unknown_name("value for training.strategy", settings.training.strategy, known)
    keep_machine_code(cache_dir() / "compiled")
    device = _device(settings, ranks)
    convolves = is_convolutional(settings.backbone.name) if learner is None else has_convolutions(learner)
    compiling = compile_ahead() if device.type == "cpu" and convolves else None
    with limited_threads(settings.training.threads):
        kept = None if overwrite else folder.path
        with ranks.in_turn():
            domain: Domain = open_domain(settings.data, kept) if data is None else ImageDomain(data)
        ranks.agree("data", domain.fingerprint)
        ranks.agree("versions", (metacortex.__version__, torch.__version__))
        description = None if learner is not None else describe_learner(settings, domain)
        subject = learner if description is None else build_learner(description, seed=settings.training.seed)
        assert subject is not None
        subject.to(device)
        tasks = domain.training_tasks(settings, subject) if subject.trains_on != "nothing" else None
        validation = _validation(domain, settings)
        with folder.lock() if ranks.first else nullcontext():
            _check_pieces(settings, subject, tasks, ranks)
            if compiling is not None and compiling.is_alive() and ranks.first:
                tell_waiting(progress, "kernels for this processor are being compiled: some ten seconds, once")
            record = run_record(settings, subject, domain, description, tasks, validation, command, ranks.size, device)
            record["data"]["source"] = settings.data.name if data is None else None
            if tasks is not None:
                tasks = place(tasks, device)
            strategy = ranks.tell(lambda: _begin(folder, settings, subject, tasks, domain, record, overwrite=overwrite))
            trainer = Trainer(
                subject,
                folder,
                settings.training,
                tasks,
                None if validation is None else place(validation, device),
                batch_size=meta_batch_size(settings, subject),
                strategy=strategy,
                ranks=ranks,
            )
            return _train(trainer, settings, domain, progress)


def _settled(settings: RunSettings | None, folder: RunFolder, *, resume: bool, overwrite: bool) -> RunSettings:
    """The settings to train with; refuses folders that cannot be used before any work is done."""
    if resume and folder.exists():
        folder.info()
        stored = folder.settings()
        return stored if settings is None else _continued(stored, settings)
    if settings is None:
        if not (resume and folder.config_path.is_file() and folder.is_free()):
            folder.info()  # says why there is no run
            raise SettingsError(f"{folder.path} holds a run already: settings are needed to replace it")
        return folder.settings()  # the process was killed before the run had begun
    if folder.exists() and not overwrite:
        raise RunError(
            f"{folder.path} holds a run already: continue it with --resume, replace it with --overwrite, "
            "or choose another --out"
        )
    if not folder.exists() and not folder.is_free(leftovers=overwrite):
        raise RunError(f"{folder.path} is not empty and holds no run: choose another --out")
    return settings


def _continued(stored: RunSettings, asked: RunSettings) -> RunSettings:
    before, after = to_mapping(stored), to_mapping(asked)
    changed = [
        f"{section}.{key}"
        for section in after
        for key in sorted(set(before[section]) | set(after[section]))
        if before[section].get(key) != after[section].get(key) and not (section == "training" and key in _MAY_CHANGE)
    ]
    if changed:
        key = changed[0]
        section, name = key.split(".", 1)
        raise SettingsError(
            f"the run was begun with {key} = {before[section].get(name)!r}, not {after[section].get(name)!r}"
            f"{' (also different: ' + ', '.join(changed[1:]) + ')' if changed[1:] else ''}: "
            "resume without it, or begin another run with another --out"
        )
    kept = {key: getattr(asked.training, key) for key in _MAY_CHANGE}
    return replace(stored, training=replace(stored.training, **kept))


def _device(settings: RunSettings, ranks: Ranks) -> torch.device:
    """Where this process computes; what its precision means there is noted."""
    device = resolve_device(settings.training.device, local_rank=ranks.local_rank)
    check_precision(settings.training.precision, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    note = precision_note(settings.training.precision, device)
    if note is not None and ranks.first:
        warnings.warn(note, PrecisionWarning, stacklevel=3)
    return device


def _validation(domain: Domain, settings: RunSettings) -> Any | None:
    return domain.tasks("val", settings.data) if "val" in domain.splits else None


def _choose(settings: RunSettings, learner: Learner, tasks: Any) -> dict[str, Any]:
    """What a run with ``strategy = "auto"`` takes from its first step to its last, resumed or not."""
    if tasks is None or not learner.meta_parameters():
        return {"strategy": "loop"}
    training, size = settings.training, meta_batch_size(settings, learner)
    choice = choose_strategy(
        learner.train(),
        tasks.batch(range(min(size, training.micro_tasks or size))),
        workers=training.workers,
        steps=training.steps,
        seconds=60 * training.minutes,
        precision=training.precision,
    )
    return {"strategy": choice.strategy, "strategies_measured": choice.to_json()}


def _check_pieces(settings: RunSettings, learner: Learner, tasks: Any, ranks: Ranks) -> None:
    """Refuse pieces of the work that would change the gradient; warn of processes without work."""
    if tasks is None or not learner.meta_parameters():
        return
    if settings.training.micro_queries:
        check_query_chunks(learner.train())
    size = meta_batch_size(settings, learner)
    if ranks.size > size and ranks.first:
        warnings.warn(
            f"{ranks.size - size} of {ranks.size} processes have nothing to do: '{learner.name}' learns from {size} "
            f"{'batch' if learner.trains_on == 'batches' else 'task(s)'} a step; start fewer, or set more --tasks",
            stacklevel=3,
        )


def _begin(
    folder: RunFolder,
    settings: RunSettings,
    learner: Learner,
    tasks: Any,
    domain: Domain,
    record: dict[str, Any],
    *,
    overwrite: bool,
) -> str:
    """Make the run folder, or see that it belongs to this run; returns the strategy of the engine."""
    if settings.training.strategy == "auto" and (overwrite or not folder.exists()):
        record |= _choose(settings, learner, tasks)
    if overwrite:
        folder.clear()
    if not folder.exists():
        RunFolder.create(folder.path, settings, record)
    before = folder.info()
    if before["data"]["fingerprint"] != record["data"]["fingerprint"]:
        raise RunError(
            f"the run in {folder.path} was begun on other data (sum {before['data']['fingerprint'][:12]}, now "
            f"{record['data']['fingerprint'][:12]}): restore the data, or begin another run"
        )
    domain.keep(folder.path)
    return before["strategy"]


def _train(trainer: Trainer, settings: RunSettings, domain: Domain, progress: bool | Listener) -> RunResult:
    folder, learner, ranks = trainer.folder, trainer.learner, trainer.ranks
    trainer.restore()
    if ranks.first and folder.settings() != settings:
        # Not before: what is damaged is left as it was found.
        folder.write_settings(settings)
    learns = trainer.tasks is not None and trainer.optimizer is not None
    if learns and not trainer.done:
        if not ranks.local_rank:
            foresee_memory(learner, trainer.tasks, trainer.batch_size, trainer.strategy, settings.training, ranks=ranks)
        with stop_on_signals() as stop, listener(progress if ranks.first else False, learner.name) as tell:
            trainer.run(stop, tell)
    finished, state = trainer.done or not learns, trainer.state
    if ranks.first:
        if not learns and find_directory(folder.last) is None:
            trainer.save()
        if find_directory(folder.best) is None and finished:
            save_checkpoint(folder.best, Checkpoint(learner.state_dict(), {}, {"step": state.step}))
        best = folder.best if find_directory(folder.best) is not None else folder.last
        load_weights(learner, load_checkpoint(best, weights_only=True).model, str(best))
    ranks.send(learner.state_dict())
    learner.eval()
    if ranks.first:
        _finish(folder, settings, learner, domain, finished=finished)
    return RunResult(
        folder.path,
        learner,
        state.step,
        state.seconds,
        learner.objective.score,
        state.best_score,
        state.best_step,
        finished,
        not finished,
        resume_command(folder.path),
        trainer.strategy,
        compile_report(learner, trainer.strategy).seconds,
    )


def _finish(folder: RunFolder, settings: RunSettings, learner: Learner, domain: Domain, *, finished: bool) -> None:
    """Draw the curves and, at the end of the budget, calibrate."""
    lines = read_log(folder.log_path)
    if lines:
        draw_curves(lines, folder.curves_path, f"{learner.name} on {domain.name}")
    if not finished or not isinstance(domain, ImageDomain):
        return
    dataset, data = domain.dataset, settings.data
    assert isinstance(data, DataSettings)
    split = "val" if "val" in dataset.splits else "train"
    queries = min(5, data.queries)
    try:
        found = calibrate(
            learner, dataset.split(split), way=data.way, shot=data.shot, queries=queries, seed=data.seed, split=split
        )
    except DataError:
        # Too few classes to hold strangers out: the run is fine, only "none of these" is not available.
        folder.calibration_path.unlink(missing_ok=True)
        return
    except LearnerError as error:
        folder.calibration_path.unlink(missing_ok=True)
        warnings.warn(f"no calibration of probabilities is kept: {error}", stacklevel=2)
        return
    folder.write_json(folder.calibration_path, found.to_json())
