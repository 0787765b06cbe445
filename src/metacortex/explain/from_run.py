"""Explanations of a run's answers: on a test task, or on images beside a folder of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metacortex.errors import DataError, RunError
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.explain.explanation import Explanation, explain
from metacortex.runs.domain import open_domain
from metacortex.skills.examples import find_examples
from metacortex.skills.images import ImageReader
from metacortex.skills.learn import training_background
from metacortex.task import Examples

__all__ = ["Explained", "explain_images", "explain_task"]


@dataclass(frozen=True)
class Explained:
    """Explanations with the names of everything in them.

    Attributes:
        title: what is explained.
        lead: a sentence on it.
        explanations: one per query.
        support: what the learner adapted on.
        inputs: the queries ``[Q, ...]``.
        classes: their names, by slot.
        examples: names of the support examples.
        queries: names of the queries.
        truths: the right classes, where they are known.
    """

    title: str
    lead: str
    explanations: Sequence[Explanation]
    support: Examples
    inputs: Any
    classes: Sequence[str]
    examples: Sequence[str]
    queries: Sequence[str]
    truths: Sequence[int] | None = None


def explain_task(run: Path | str, index: int = 0, queries: int = 3, *, checkpoint: str | None = None) -> Explained:
    """Explain a run's answers to queries of a test task, spread over its classes.

    Args:
        run: the run folder; its data must still be there.
        index: which test task.
        queries: how many of its queries.
        checkpoint: ``"best"`` or ``"last"``.

    Raises:
        RunError: if the run cannot be used, or is not one of classification.
        DataError: if its data cannot.
    """
    loaded = _loaded(run, checkpoint)
    if loaded.folder.info()["data"].get("source") is None:
        raise RunError(f"the run in {run} was trained on data of your own: use metacortex.explain.explanation.explain")
    domain = open_domain(loaded.settings.data, loaded.folder.path)
    task = domain.tasks("test", loaded.settings.data).task(index)
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
    return Explained(title, lead, found, task.support, inputs, classes, examples, names, truths)


def explain_images(
    run: Path | str, folder: Path | str | None, images: Sequence[Path | str], *, checkpoint: str | None = None
) -> Explained:
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
    return Explained(
        title, lead, found, support, inputs, examples.classes, examples.names, [str(image) for image in images]
    )


def _loaded(run: Path | str, checkpoint: str | None) -> LoadedRun:
    loaded = load_run(run, checkpoint=checkpoint)
    trained = loaded.folder.info()["learner"].get("kind", "classification")
    if trained != "classification":
        raise RunError(f"the run in {run} is one of {trained}: only answers of classification are explained")
    if loaded.norm == "query-batch":
        # The reasons for one answer must not depend on the other queries.
        return load_run(run, checkpoint=checkpoint, norm="support")
    return loaded


def _explain(loaded: LoadedRun, support: Examples, inputs: Any) -> list[Explanation]:
    temperature = 1.0 if loaded.calibration is None else loaded.calibration.temperature
    return explain(loaded.learner, support, inputs, temperature=temperature)
