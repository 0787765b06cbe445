"""What the demo trains: four learners on one small backbone, each with the same share of the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metacortex.settings import RunSettings, from_mapping

__all__ = ["CONTENDERS", "Contender", "settings_of"]

_NOMINAL_MINUTES = 3.0


@dataclass(frozen=True)
class Contender:
    """One row of the demo's table.

    Attributes:
        learner: registry name; also the name of its run folder.
        title: what the table calls it.
        steps: training steps for the nominal three minutes; fixed, so that the result does not
            depend on the machine, and chosen to take each learner about the same time.
        options: settings of the learner.
        data: settings of the training tasks.
        training: settings of the outer loop.
    """

    learner: str
    title: str
    steps: int
    options: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]


CONTENDERS = (
    Contender("nearest_neighbour", "no learning (nearest pixels)", 1, {}, {}, {}),
    Contender(
        "fine_tuning",
        "transfer (pre-train, fine-tune)",
        450,
        {"tune_lr": 0.05, "tune_steps": 10},
        # Turned characters as classes of their own make pre-training harder and transfer worse.
        {"rotations": "none"},
        {"batch_size": 128, "lr": 3e-3},
    ),
    Contender("protonet", "ProtoNet", 450, {}, {"train_way": 60, "train_queries": 2}, {"lr": 3e-3}),
    Contender(
        "maml",
        "MAML",
        500,
        {"inner_lr": 0.4, "norm": "support", "eval_steps": 5},
        {"train_queries": 2},
        # Its tasks are too small for threads within them to help.
        {"tasks": 16, "strategy": "vmap", "workers": 2, "threads": 1, "lr": 3e-3},
    ),
)
"""The rows, in order."""


def settings_of(contender: Contender, minutes: float) -> RunSettings:
    """Settings of a contender's run.

    Args:
        contender: which row.
        minutes: nominal length of the whole demo; steps are scaled by it.
    """
    steps = max(1, round(contender.steps * minutes / _NOMINAL_MINUTES))
    return from_mapping(
        {
            "learner": {"name": contender.learner, **contender.options},
            "backbone": {"name": "conv4", "channels": 32, "reduction": "stride"},
            "data": {"name": "glyphs", "way": 5, "shot": 1, "queries": 15, **contender.data},
            "training": {
                "steps": steps,
                "validate_every": max(1, steps // 2),
                "validation_tasks": 20,
                "checkpoint_every": steps,
                "log_every": max(1, steps // 20),
                **contender.training,
            },
        }
    )
