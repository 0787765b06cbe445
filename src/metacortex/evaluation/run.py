"""Evaluate the learner of a run folder on fixed test tasks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metacortex.data.dataset import Dataset
from metacortex.engine.devices import resolve_device
from metacortex.errors import LearnerError, RunError, SettingsError
from metacortex.evaluation.calibration import Calibration
from metacortex.evaluation.diagnosis import Diagnosis
from metacortex.evaluation.evaluate import evaluate
from metacortex.evaluation.results import EvaluationResult
from metacortex.evaluation.views import ManyViews
from metacortex.runs.build import build_learner
from metacortex.runs.checkpoint import load_checkpoint, load_weights
from metacortex.runs.domain import Domain, open_domain
from metacortex.runs.files import find_directory
from metacortex.runs.folder import RunFolder
from metacortex.runs.images import ImageDomain
from metacortex.settings import DataSettings, RunSettings, merge
from metacortex.tasks.functions import function_names

if TYPE_CHECKING:
    from metacortex.learners.base import Learner

__all__ = ["LoadedRun", "elsewhere", "evaluate_run", "keep_result", "load_run"]

_NAMES = {"norm": "batch-norm policy (norm)", "eval_steps": "inner steps (inner_steps)"}


@dataclass(frozen=True)
class LoadedRun:
    """A run with its weights, ready to be used.

    Attributes:
        folder: the run folder.
        settings: its settings.
        learner: in evaluation mode.
        checkpoint: ``{"name": "best" or "last", "step": …}``.
        norm: norm policy of the learner, ``None`` if it has none.
        calibration: threshold and temperature, ``None`` while the run is not finished.
    """

    folder: RunFolder
    settings: RunSettings
    learner: Learner
    checkpoint: dict[str, Any]
    norm: str | None
    calibration: Calibration | None


def load_run(
    run: Path | str,
    *,
    checkpoint: str | None = None,
    norm: str | None = None,
    inner_steps: int | None = None,
    options: Mapping[str, Any] | None = None,
    learner: Learner | None = None,
    device: str = "cpu",
) -> LoadedRun:
    """Load a trained learner from its run folder.

    Args:
        run: the run folder.
        checkpoint: ``"best"`` or ``"last"``; the best that there is when not given.
        norm: another norm policy than that of the run.
        inner_steps: another number of inner steps, for learners that have them.
        options: other values of the learner's settings, by name; none that would change the shape of its weights.
        learner: an untrained learner to load the weights into, for runs of a learner of your own.
        device: where it is put, see `metacortex.engine.devices.resolve_device`; it may be trained on another.

    Raises:
        RunError: if the folder, the checkpoint or its format cannot be used.
        SettingsError: if the learner has no such norm policy, or no inner steps.
    """
    folder = RunFolder.open(run)
    info = folder.info()
    name = checkpoint or ("best" if find_directory(folder.best) is not None else "last")
    if name not in ("best", "last"):
        raise RunError(f"unknown checkpoint '{name}': expected 'best' or 'last'")
    if learner is None:
        learner = _rebuilt(folder, info, {**_typed(folder, options), "norm": norm, "eval_steps": inner_steps})
    where = folder.path / "checkpoints" / name
    saved = load_checkpoint(where, weights_only=True)
    load_weights(learner, saved.model, str(where))
    learner.to(resolve_device(device)).eval()
    policy = getattr(getattr(learner, "body", None), "norm", None)
    used = {"name": name, "step": saved.state["step"]}
    return LoadedRun(folder, folder.settings(), learner, used, policy, _calibration(folder))


def _rebuilt(folder: RunFolder, info: dict[str, Any], asked: dict[str, Any]) -> Learner:
    description = info.get("learner")
    if not isinstance(description, dict) or "name" not in description:
        raise RunError(f"{folder.info_path} does not say which learner was trained: it is damaged")
    if description.get("custom"):
        raise RunError(
            f"{folder.path} holds a learner of your own ('{description['name']}'): load it in Python with learner=…"
        )
    changes = {key: value for key, value in asked.items() if value is not None}
    for key in changes.keys() - set(description.get("options", {})):
        raise SettingsError(f"'{description['name']}' has no {_NAMES[key]}: leave the setting out")
    try:
        return build_learner(description, **changes)
    except KeyError as error:
        raise RunError(f"{folder.info_path} is damaged: the learner has no {error}") from error


def _typed(folder: RunFolder, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings of the learner as their types ask, from texts too."""
    if not options:
        return {}
    merged = merge(folder.settings(), {f"learner.{key}": value for key, value in options.items()})
    return {key: merged.learner.options[key] for key in options}


def _calibration(folder: RunFolder) -> Calibration | None:
    content = folder.read_json(folder.calibration_path)
    return None if content is None else Calibration.from_json(content)


def evaluate_run(
    run: Path | str,
    data: str | Dataset | None = None,
    *,
    way: int | None = None,
    shot: int | None = None,
    queries: int | None = None,
    tasks: int = 600,
    split: str = "test",
    seed: int | None = None,
    norm: str | None = None,
    inner_steps: int | None = None,
    protocol: str | None = None,
    checkpoint: str | None = None,
    views: int = 1,
    options: Mapping[str, Any] | None = None,
    learner: Learner | None = None,
    device: str = "auto",
    precision: str = "float32",
    save: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Accuracy of a run's learner on fixed tasks, kept as ``eval/<protocol>.json``.

    What is not given is that of the run.

    Args:
        run: the run folder.
        data: another data source to draw the tasks from, or a data set.
        way: classes per task.
        shot: support examples per class.
        queries: queries per class.
        tasks: how many tasks; of a source that gives its tasks (``omniglot_challenge``) at most all of them.
        split: whose classes.
        seed: of the tasks.
        norm: another norm policy.
        inner_steps: another number of inner steps, for learners that have them.
        protocol: another split protocol of the data source.
        checkpoint: ``"best"`` or ``"last"``.
        views: answers are averaged over so many views of the images, see `metacortex.evaluation.views.ManyViews`.
        options: other values of the learner's settings, by name, e.g. ``{"tune_steps": 50}``.
        learner: an untrained learner to load the weights into, see `load_run`.
        device: where to compute, see `metacortex.engine.devices.resolve_device`.
        precision: of convolutions and matrix products, see `metacortex.engine.precision.PRECISIONS`.
        save: whether to keep the result in the run folder.
        progress: called with (tasks done, tasks).

    Returns:
        The result; its ``fingerprint`` covers the store and every task.

    Raises:
        RunError: if the run cannot be used.
        DataError: if the tasks cannot be drawn from the data.
        LearnerError: if the learner cannot serve such tasks, or its scores are not finite.
    """
    loaded = load_run(
        run,
        checkpoint=checkpoint,
        norm=norm,
        inner_steps=inner_steps,
        options=options,
        learner=learner,
        device=device,
    )
    sizes = {"data.way": way, "data.shot": shot, "data.queries": queries, "data.seed": seed}
    settings, domain = _where(loaded, data, protocol, sizes)
    _same_shape(loaded, domain)
    diagnosis = Diagnosis()
    drawn = domain.tasks(split, settings.data)
    tasks = min(tasks, getattr(drawn, "count", tasks))  # some sources give a number of tasks and no more
    subject = loaded.learner if views == 1 else ManyViews(loaded.learner, views)
    result = evaluate(subject, drawn, tasks, progress=progress, observe=diagnosis.observe, precision=precision)
    _check_finite(loaded.learner.name, result)
    steps = getattr(loaded.learner, "eval_steps", None)
    result = replace(
        result,
        protocol=f"{domain.name}: {domain.protocol}; {result.protocol}"
        + (f"; norm {loaded.norm}" if loaded.norm else "")
        + (f"; {steps} inner steps" if steps is not None else "")
        + (f"; {views} views" if views != 1 else "")
        + "".join(f"; {key} {value}" for key, value in (options or {}).items()),
        fingerprint=f"{domain.fingerprint[:16]}-{result.fingerprint}",
        details={
            **domain.details(split, settings.data),
            "norm": loaded.norm,
            "inner_steps": steps,
            **({} if precision == "float32" else {"precision": precision}),
            **_asked(views, options),
        },
        learner=loaded.learner.name,
        checkpoint=loaded.checkpoint,
        diagnosis=diagnosis.to_json(),
    )
    return keep_result(loaded.folder, result) if save else result


def _check_finite(name: str, result: EvaluationResult) -> None:
    strange = [i for i, score in enumerate(result.scores) if not math.isfinite(score)]
    if strange or not math.isfinite(result.loss):
        where = f"task {strange[0]} and {len(strange) - 1} others" if strange else "some tasks"
        raise LearnerError(
            f"'{name}' diverges: {result.metric} or loss are not finite on {where} of {len(result.scores)}: adapt "
            "with a lower rate (--set inner_lr=…, tune_lr=…) or in fewer steps"
        )


def _asked(views: int, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was asked for beside the usual, for the record."""
    return {**({} if views == 1 else {"views": views}), **({"options": dict(options)} if options else {})}


def _where(
    loaded: LoadedRun, data: str | Dataset | None, protocol: str | None, sizes: dict[str, Any]
) -> tuple[RunSettings, Domain]:
    """Settings and source of the tasks: those of the run, with what was asked for instead."""
    if data is None and loaded.folder.info()["data"].get("source") is None:
        raise RunError(f"the run in {loaded.folder.path} was trained on data of your own: pass it with data=…")
    settings = elsewhere(loaded.settings, data if isinstance(data, str) else None, protocol, sizes)
    return settings, ImageDomain(data) if isinstance(data, Dataset) else open_domain(settings.data, loaded.folder.path)


def elsewhere(settings: RunSettings, data: str | None, protocol: str | None, sizes: Mapping[str, Any]) -> RunSettings:
    """The settings of a run with another source, split protocol or size of the tasks.

    Args:
        settings: of the run.
        data: name of the source; ``None`` for that of the run.
        protocol: of the source; ``None`` for that of the run, or the usual one of another source.
        sizes: ``"data.way"``, ``"data.shot"``, ``"data.queries"`` and ``"data.seed"``; ``None`` for those of the run.

    Raises:
        SettingsError: for values out of range.
    """
    changes = dict(sizes)
    if data is not None and data != settings.data.name:
        # Another source has its own protocol and rotations.
        changes |= {"data.name": data, "data.protocol": protocol, "data.rotations": None}
        if isinstance(settings.data, DataSettings) and data not in function_names():
            changes |= {"data.protocol": protocol or "", "data.rotations": ""}
    elif protocol is not None:
        changes["data.protocol"] = protocol
    return merge(settings, changes)


def _same_shape(loaded: LoadedRun, domain: Domain) -> None:
    trained = loaded.folder.info()["learner"]
    kind, shape = trained.get("kind", domain.kind), trained.get("input_shape")
    if kind != domain.kind:
        raise RunError(
            f"the run in {loaded.folder.path} was trained for {kind}, '{domain.name}' has tasks of {domain.kind}: "
            "evaluate on data of the same kind"
        )
    if shape is not None and tuple(shape) != tuple(domain.input_shape):
        raise RunError(
            f"the run in {loaded.folder.path} was trained on inputs of shape {tuple(shape)}, "
            f"'{domain.name}' has {tuple(domain.input_shape)}: evaluate on data of the same size and channels"
        )


def keep_result(folder: RunFolder, result: EvaluationResult) -> EvaluationResult:
    """Write the result of `evaluate_run` into a run folder, as ``eval/<protocol>.json``.

    Returns:
        The result with its path.

    Raises:
        RunError: if it cannot be written.
    """
    d = result.details
    parts = [Path(str(d["data"])).name, d["split"]]
    parts += [f"{d[key]}{unit}" for key, unit in (("way", "way"), ("shot", "shot"), ("queries", "query")) if key in d]
    parts += [f"seed{d['seed']}"] if d["seed"] else []
    parts += [d["norm"]] if d["norm"] else []
    parts += [] if d["inner_steps"] is None else [f"{d['inner_steps']}steps"]
    parts += [d["precision"]] if "precision" in d else []
    parts += [f"{d['views']}views"] if "views" in d else []
    parts += [f"{key}{value}" for key, value in d.get("options", {}).items()]
    parts += [result.checkpoint["name"]] if result.checkpoint["name"] != "best" else []
    parts += [f"{len(result.scores)}tasks", result.fingerprint[-6:]]
    path = folder.eval_path(re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)))
    folder.write_json(path, result.to_json())
    return replace(result, path=path)
