"""Teach the learner of a run the classes in a folder of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from metacortex import __version__
from metacortex.errors import DataError, LearnerError, MetacortexError, RunError
from metacortex.evaluation.calibration import Calibration, calibrate
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.learners.base import Predictor
from metacortex.runs.folder import RunFolder
from metacortex.runs.images import build_dataset
from metacortex.settings import DataSettings
from metacortex.skills.examples import find_examples
from metacortex.skills.images import Background, ImageReader, border_level
from metacortex.skills.skill import Skill, SupportSet
from metacortex.skills.state import portable
from metacortex.task import Examples

__all__ = ["learn_skill", "training_background"]

_DRAWN = ("digits", "glyphs", "omniglot")
"""Sources of bright strokes on a dark ground, which need not be loaded to know that."""
_SAMPLE = 256


def learn_skill(
    run: Path | str,
    folder: Path | str,
    *,
    checkpoint: str | None = None,
    norm: str | None = None,
    invert: bool | None = None,
    seed: int = 0,
) -> Skill:
    """Adapt the learner of a run to the classes of a folder.

    Args:
        run: a run folder.
        folder: one sub-folder of images per class; any number of classes from two on, any number,
            size and mode of images. Class names are those of the sub-folders.
        checkpoint: ``"best"`` or ``"last"``; the best that there is when not given.
        norm: batch-norm policy; that of the run when not given, except that ``query-batch`` becomes
            ``support``, because the answer for one image must not depend on the others asked about.
        invert: exchange dark and light in every image, here and when the skill is used; decided image by
            image when not given, see `ImageReader`.
        seed: of the randomness a learner may use to adapt.

    Returns:
        The skill; `Skill.save` keeps it.

    Raises:
        RunError: if the run cannot be used.
        DataError: if the folder cannot, naming the class or file.
        LearnerError: if the learner cannot serve as many classes.

    Example:
        >>> learn_skill("runs/x", "letters").predict("photo.jpg")  # doctest: +SKIP
    """
    info = RunFolder.open(run).info()
    kind = info["learner"].get("kind", "classification")
    if kind != "classification":
        repair = ", this one learns from a table of sentence pairs" if kind == "translation" else ""
        raise RunError(
            f"the run in {run} is one of {kind}: only those of classification learn from folders of images{repair}"
        )
    trained = info.get("norm")
    loaded = load_run(run, checkpoint=checkpoint, norm=norm or ("support" if trained == "query-batch" else None))
    examples = find_examples(folder)
    description = _description(info["learner"], loaded.norm)
    reader = ImageReader.of(description["input_shape"], training_background(loaded), invert)
    pixels = examples.read(reader)  # [N, C, H, W]
    support = Examples(
        torch.from_numpy(pixels).to(torch.float32) / 255.0,
        torch.tensor(examples.targets),
        classes=torch.ones(len(examples.classes), dtype=torch.bool),
    )
    predictor = _adapted(loaded, support, str(folder), seed)
    return Skill(
        predictor,
        examples.classes,
        SupportSet(tuple(examples.names), support.targets, portable(predictor.embed(support.inputs))),
        reader,
        _calibration(loaded, trained),
        description,
        loaded.norm,
        f"metacortex {__version__}",
        {
            "run": loaded.folder.path.name,
            "data": str(info["data"]["name"]),
            **{k: str(v) for k, v in loaded.checkpoint.items()},
        },
    )


def training_background(loaded: LoadedRun) -> Background:
    """What the border of the images is like that a run was trained on.

    ``"dark"`` or ``"light"`` where nine in ten are so, ``"any"`` otherwise, or when the data of the run is
    no longer there to look at.
    """
    data = loaded.folder.info()["data"]
    if data["name"] in _DRAWN:
        return "dark"
    settings = loaded.settings.data
    assert isinstance(settings, DataSettings)
    try:
        store = build_dataset(settings).store
    except MetacortexError:
        return "any"
    if store.fingerprint != data["fingerprint"] or len(store.shape) != 3:
        return "any"
    rows = np.unique(np.linspace(0, len(store.examples) - 1, _SAMPLE).astype(int))
    dark = float(np.mean([border_level(store.examples[row]) < 128 for row in rows]))
    return "dark" if dark >= 0.9 else "light" if dark <= 0.1 else "any"


def _description(description: dict[str, Any], norm: str | None) -> dict[str, Any]:
    options = dict(description["options"])
    if norm is not None and "norm" in options:
        options["norm"] = norm
    return {**description, "options": options}


def _adapted(loaded: LoadedRun, support: Examples, folder: str, seed: int) -> Predictor:
    learner = loaded.learner
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return learner.bind(learner.adapt(support))
    except LearnerError as error:
        raise LearnerError(f"the run {loaded.folder.path} cannot learn the classes of {folder}: {error}") from error


def _calibration(loaded: LoadedRun, trained: str | None) -> Calibration | None:
    """That of the run; made anew, where the data is at hand, if the skill has another norm policy."""
    kept = loaded.calibration
    if kept is None or loaded.norm == trained:
        return kept
    settings = loaded.settings.data
    assert isinstance(settings, DataSettings)
    try:
        view = build_dataset(settings).split(kept.split)
        return calibrate(loaded.learner, view, way=kept.way, shot=kept.shot, tasks=kept.tasks, split=kept.split)
    except DataError:
        return kept
