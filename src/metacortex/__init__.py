"""Learning to learn: from a handful of examples to a new skill.

What most programs need can be imported from here; it is loaded when it is first used, so that
``import metacortex`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metacortex.data.arrays import from_arrays
    from metacortex.data.registry import load_dataset
    from metacortex.engine.gradient import meta_gradient
    from metacortex.estimators.classifier import FewShotClassifier
    from metacortex.estimators.regressor import FewShotRegressor
    from metacortex.evaluation.evaluate import evaluate
    from metacortex.learners.base import Learner, Predictor
    from metacortex.learners.gradient.maml import MAML
    from metacortex.learners.metric.protonet import ProtoNet
    from metacortex.learners.transfer.fine_tuning import FineTuning
    from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
    from metacortex.similarity.distance import TaskDistance
    from metacortex.similarity.similar import similar_tasks
    from metacortex.task import Examples, Task, stack_tasks
    from metacortex.tasks.episodes import Episodes, EpisodeSpec
    from metacortex.training.run import train

__all__ = [
    "MAML",
    "EpisodeSpec",
    "Episodes",
    "Examples",
    "FewShotClassifier",
    "FewShotRegressor",
    "FineTuning",
    "Learner",
    "NearestNeighbour",
    "Predictor",
    "ProtoNet",
    "Task",
    "TaskDistance",
    "evaluate",
    "from_arrays",
    "load_dataset",
    "meta_gradient",
    "similar_tasks",
    "stack_tasks",
    "train",
]

__version__ = "0.1.0"

_HOMES = {
    "data.arrays": ("from_arrays",),
    "data.registry": ("load_dataset",),
    "engine.gradient": ("meta_gradient",),
    "estimators.classifier": ("FewShotClassifier",),
    "estimators.regressor": ("FewShotRegressor",),
    "evaluation.evaluate": ("evaluate",),
    "learners.base": ("Learner", "Predictor"),
    "learners.gradient.maml": ("MAML",),
    "learners.metric.protonet": ("ProtoNet",),
    "learners.transfer.fine_tuning": ("FineTuning",),
    "learners.transfer.nearest_neighbour": ("NearestNeighbour",),
    "similarity.distance": ("TaskDistance",),
    "similarity.similar": ("similar_tasks",),
    "task": ("Examples", "Task", "stack_tasks"),
    "tasks.episodes": ("EpisodeSpec", "Episodes"),
    "training.run": ("train",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"metacortex.{module}"), name)
    raise AttributeError(f"module 'metacortex' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
