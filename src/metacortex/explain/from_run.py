"""Explanations of a run's answers: on a test task, or on images beside a folder of examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metacortex.errors import DataError, RunError
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.explain.explained import ExplainedClasses, ExplainedValues, point_names
from metacortex.explain.explanation import Explanation, explain
from metacortex.explain.values import explain_values, learned_curve
from metacortex.runs.domain import open_domain
from metacortex.skills.examples import find_examples
from metacortex.skills.images import ImageReader
from metacortex.skills.learn import training_background
from metacortex.task import Examples, Task

__all__ = ["explain_images", "explain_task"]


def explain_task(
    run: Path | str, index: int = 0, queries: int = 3, *, checkpoint: str | None = None
) -> ExplainedClasses | ExplainedValues:
    """Explain a run's answers to queries of a test task, spread over its classes (or its inputs, for functions).

    Args:
        run: the run folder; its data must still be there.
        index: which test task.
        queries: how many of its queries.
        checkpoint: ``"best"`` or ``"last"``.

    Raises:
        RunError: if the run cannot be used, or is not one of classification or regression.
        DataError: if its data cannot.
    """
    loaded = _loaded(run, checkpoint, ("classification", "regression"))
    if loaded.folder.info()["data"].get("source") is None:
        raise RunError(f"the run in {run} was trained on data of your own: use metacortex.explain.explanation.explain")
    domain = open_domain(loaded.settings.data, loaded.folder.path)
    task = domain.tasks("test", loaded.settings.data).task(index)
    if domain.kind == "regression":
        return _explain_function(loaded, task, f"Test task {index} of {domain.name}; {domain.protocol}.", queries)
    classes = list(task.info["classes"])
    members = task.info["members"]
    shots = [int((task.support.targets == slot).sum()) for slot in range(len(classes))]
    examples = [f"{classes[s]} #{members[s][j]}" for s in range(len(classes)) for j in range(shots[s])]
    count = len(task.query.targets)
    rows = torch.linspace(0, count - 1, min(queries, count)).long()
    inputs, truths = task.query.inputs[rows], task.query.targets[rows].tolist()
    names = [f"query {int(row)} of task {index}" for row in rows]
    found = _explain(loaded, task.support, inputs)
    lead = f"Test task {index} of {domain.name}; {domain.protocol}."
    title = f"Why {loaded.learner.name} answers so"
    return ExplainedClasses(title, lead, found, task.support, inputs, examples, names, classes, truths)


def _explain_function(loaded: LoadedRun, task: Task, lead: str, queries: int) -> ExplainedValues:
    """Queries of a task of regression, spread over its inputs."""
    support, count = task.support, len(task.query.targets)
    order = task.query.inputs.flatten(1)[:, 0].argsort()
    rows = order[torch.linspace(0, count - 1, min(queries, count) + 2)[1:-1].long()]
    inputs = task.query.inputs[rows]
    single = support.inputs.dim() == 2 and support.inputs.shape[1] == 1
    found = explain_values(loaded.learner, support, inputs)
    curve = None
    if single:
        everywhere = torch.cat([support.inputs, task.query.inputs])
        grid = torch.linspace(float(everywhere.min()), float(everywhere.max()), 200)
        curve = learned_curve(loaded.learner, support, grid)
    return ExplainedValues(
        f"Why {loaded.learner.name} answers so",
        lead,
        found,
        support,
        inputs,
        point_names(support.inputs, "example"),
        point_names(inputs, "query"),
        task.query.targets[rows].tolist(),
        curve,
    )


def explain_images(
    run: Path | str, folder: Path | str | None, images: Sequence[Path | str], *, checkpoint: str | None = None
) -> ExplainedClasses:
    """Explain a run's answers to images, beside a folder of examples.

    Args:
        run: the run folder.
        folder: one sub-folder of example images per class.
        images: what is asked about.
        checkpoint: ``"best"`` or ``"last"``.

    Raises:
        RunError: if the run cannot be used, or is not one of classification.
        DataError: if the folder or an image cannot be read, or there is no image.
    """
    if folder is None or not images:
        raise DataError("give both: images to explain, and --examples FOLDER with a sub-folder of examples per class")
    loaded = _loaded(run, checkpoint)
    examples = find_examples(folder)
    shape = loaded.folder.info()["learner"]["input_shape"]
    reader = ImageReader.of(shape, training_background(loaded), None)
    support = Examples(
        torch.from_numpy(examples.read(reader)).to(torch.float32) / 255.0,
        torch.tensor(examples.targets),
        classes=torch.ones(len(examples.classes), dtype=torch.bool),
    )
    inputs = torch.from_numpy(np.stack([reader(Path(image)) for image in images])).to(torch.float32) / 255.0
    found = _explain(loaded, support, inputs)
    lead = f"{len(examples.files)} examples of {len(examples.classes)} classes in {folder}."
    title = f"Why {loaded.learner.name} answers so"
    return ExplainedClasses(
        title, lead, found, support, inputs, examples.names, [str(image) for image in images], examples.classes
    )


def _loaded(run: Path | str, checkpoint: str | None, kinds: Sequence[str] = ("classification",)) -> LoadedRun:
    loaded = load_run(run, checkpoint=checkpoint)
    trained = loaded.folder.info()["learner"].get("kind", "classification")
    if trained not in kinds:
        raise RunError(f"the run in {run} is one of {trained}: expected one of {' or '.join(kinds)}")
    if loaded.norm == "query-batch":
        # The reasons for one answer must not depend on the other queries.
        return load_run(run, checkpoint=checkpoint, norm="support")
    return loaded


def _explain(loaded: LoadedRun, support: Examples, inputs: Any) -> list[Explanation]:
    temperature = 1.0 if loaded.calibration is None else loaded.calibration.temperature
    return explain(loaded.learner, support, inputs, temperature=temperature)
