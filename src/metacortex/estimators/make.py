"""From a run to the weights that come with the package: `default_source` reads what `pack_run` writes.

python -m metacortex.estimators.make runs/images src/metacortex/estimators/weights
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from metacortex.data.view import ClassView
from metacortex.estimators.adapted import adapt_head
from metacortex.estimators.features import NetFeatures
from metacortex.estimators.heads import fit_temperature
from metacortex.estimators.source import FORMAT, LEARNER_KIND
from metacortex.evaluation.run import load_run
from metacortex.learners.base import Learner
from metacortex.runs.files import write_file
from metacortex.runs.images import build_dataset
from metacortex.settings import DataSettings
from metacortex.skills.state import portable
from metacortex.tasks.episodes import Episodes, EpisodeSpec

__all__ = ["main", "measure_head", "pack_run"]

_TASKS, _WAY, _QUERIES = 60, 10, 5
_ACCEPT = 0.95


def pack_run(run: Path | str, folder: Path | str) -> Path:
    """Keep the weights of a run, with the temperature and the novelty threshold of a head on one example per class.

    Both are measured on validation classes, which no weight was fitted to.

    Args:
        run: of a learner with a backbone and norm ``running``, on a source of framed drawings.
        folder: made where needed.
    """
    loaded = load_run(run)
    info, settings = loaded.folder.info(), loaded.settings
    assert isinstance(settings.data, DataSettings)
    dataset = build_dataset(settings.data)
    measured = measure_head(loaded.learner, dataset.split("val"))
    config = {
        "format": FORMAT,
        "kind": LEARNER_KIND,
        "name": f"{info['learner']['name']} on {dataset.name}",
        "learner": info["learner"],
        "framed": True,
        **{k: measured[k] for k in ("temperature", "far")},
        "facts": {
            "data": f"{dataset.name}: {dataset.protocol}",
            "training classes": len(dataset.split("train")),
            "steps": loaded.checkpoint["step"],
            "validation accuracy": measured["accuracy"],
            "validation tasks": f"{_TASKS}, {_WAY}-way 1-shot, classes of other scripts",
            "fonts": dataset.provenance["fonts"],
        },
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: portable(t).clone() for name, t in loaded.learner.state_dict().items()}
    write_file(folder / "model.safetensors", safetensors.torch.save(tensors, {"format": "pt"}))
    write_file(folder / "config.json", json.dumps(config, indent=1) + "\n")
    return folder


def measure_head(learner: Learner, view: ClassView, *, tasks: int = _TASKS, shot: int = 1) -> Mapping[str, Any]:
    """Temperature, novelty threshold and accuracy of the default head on tasks of a view.

    Args:
        learner: with a body.
        view: classes to draw tasks from.
        tasks: how many.
        shot: support examples per class.
    """
    episodes = Episodes(view, EpisodeSpec(_WAY, shot, _QUERIES), seed=0, split="val/heads")
    scores, targets, far = [], [], []
    for index in range(tasks):
        task = episodes.task(index)
        support, query = (np.rint(x.inputs.numpy() * 255).astype(np.uint8) for x in (task.support, task.query))
        features = NetFeatures.learn(learner, support)
        adapted = adapt_head(features, "auto", support, task.support.targets.numpy(), _WAY, 1.0, 1.0)
        scores.append(adapted.scores(query))
        targets.append(task.query.targets.numpy())
        far.append(adapted.novelty.scores(adapted.embed(query)))
    logits, labels = np.concatenate(scores), np.concatenate(targets)
    return {
        "temperature": fit_temperature(logits, labels)[0],
        "far": float(np.quantile(np.concatenate(far), _ACCEPT)),
        "accuracy": float((logits.argmax(1) == labels).mean()),
    }


def main(arguments: list[str]) -> int:
    """``RUN FOLDER``."""
    pack_run(*arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
