"""Where an estimator's network comes from: the weights shipped with the package, a run, or a learner of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from metacortex.errors import LearnerError, RunError
from metacortex.evaluation.run import load_run
from metacortex.learners.base import Learner
from metacortex.skills.build import build_empty
from metacortex.skills.images import Background
from metacortex.skills.learn import training_background

__all__ = ["DEFAULT_WEIGHTS", "LEARNER_KIND", "ModelSource", "default_source", "load_source"]

DEFAULT_WEIGHTS = Path(__file__).parent / "weights"
LEARNER_KIND = "metacortex learner"
FORMAT = 1
TEMPERATURE, FAR = 0.15, 0.5
"""Of heads on one example per class where nothing was measured: half the distance between classes is far."""
_FRAMED = ("glyphs_pens",)
"""Data sources whose images are framed drawings."""


@dataclass(frozen=True, eq=False)
class ModelSource:
    """A learner and what is known of it.

    Attributes:
        learner: in evaluation mode; nothing here changes it.
        description: enough to build it again, ``None`` for a learner of one's own.
        framed: it was trained on framed drawings, see `metacortex.data.ink.frame`.
        background: border of the images that it was trained on.
        shape: of one input, ``()`` if unknown.
        temperature: of its own logits, or of a head's (see `for_heads`).
        far: novelty threshold where the examples cannot tell it.
        for_heads: meant to give features to heads, and calibrated for that; it does not adapt in its own way.
        name: what it is called in messages.
        facts: how it was trained, for the model card.
    """

    learner: Learner
    description: Mapping[str, Any] | None
    framed: bool
    background: Background
    shape: tuple[int, ...]
    temperature: float
    far: float
    for_heads: bool
    name: str
    facts: Mapping[str, Any]


def load_source(model: Any) -> ModelSource:
    """A run folder, a folder of shipped weights, or a learner.

    Raises:
        RunError: if the folder is neither, or cannot be read.
        LearnerError: for anything that is no learner.
    """
    if isinstance(model, Learner):
        return ModelSource(model, None, False, "any", (), 1.0, FAR, False, model.name, {})
    if not isinstance(model, str | Path):
        raise LearnerError(
            f"model must be a run folder, a folder of saved weights, a Learner or None, got {type(model).__name__}"
        )
    folder = Path(model)
    if (folder / "config.json").is_file():
        return _saved(folder)
    return _run(folder)


@cache
def default_source() -> ModelSource:
    """The weights that come with the package.

    Raises:
        RunError: if this build has none.
    """
    if not (DEFAULT_WEIGHTS / "config.json").is_file():
        raise RunError(
            "this build of metacortex comes without image weights: train a learner, e.g. `metacortex train protonet "
            "--data glyphs_pens --out runs/images`, and give its folder as model='runs/images'"
        )
    return _saved(DEFAULT_WEIGHTS)


def _saved(folder: Path) -> ModelSource:
    try:
        content = json.loads((folder / "config.json").read_bytes())
        if content.get("kind") != LEARNER_KIND:
            raise RunError(
                f"{folder} holds a {content.get('kind', 'model of another program')}, not weights of a learner: "
                "read a saved estimator with from_pretrained"
            )
        if content["format"] > FORMAT:
            raise RunError(
                f"{folder} has format {content['format']}, this metacortex knows {FORMAT}: update metacortex"
            )
        learner = build_empty(content["learner"])
        learner.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
        return ModelSource(
            learner.eval(),
            content["learner"],
            bool(content["framed"]),
            "dark" if content["framed"] else content.get("background", "any"),
            tuple(content["learner"]["input_shape"]),
            float(content["temperature"]),
            float(content["far"]),
            True,
            str(content["name"]),
            content.get("facts", {}),
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"the weights in {folder} cannot be read: {error}") from error


def _run(folder: Path) -> ModelSource:
    loaded = load_run(folder)
    if loaded.norm == "query-batch":
        # The answer for one input must not depend on the others asked about.
        loaded = load_run(folder, norm="support")
    info = loaded.folder.info()
    calibration = loaded.calibration
    framed = info["data"]["name"] in _FRAMED
    images = len(info["learner"].get("input_shape", ())) == 3
    options = dict(info["learner"]["options"])
    if loaded.norm is not None and "norm" in options:
        options["norm"] = loaded.norm
    return ModelSource(
        loaded.learner,
        {**info["learner"], "options": options},
        framed,
        training_background(loaded) if images and not framed else "any",
        tuple(info["learner"].get("input_shape", ())),
        calibration.temperature if calibration else 1.0,
        calibration.threshold if calibration else FAR,
        False,
        loaded.folder.path.name,
        {"data": info["data"]["name"], "protocol": info.get("protocol"), "checkpoint": dict(loaded.checkpoint)},
    )
