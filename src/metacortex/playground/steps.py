"""How the answer to a picture came about, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.errors import LearnerError
from metacortex.estimators.adapted import as_tensor
from metacortex.estimators.heads import softmax
from metacortex.learners.gradient.base import GradientLearner
from metacortex.nn.mode import evaluating
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.playground.teacher import Learned, Reply

__all__ = ["MOST_STEPS", "Step", "steps_of"]

MOST_STEPS = 12


@dataclass(frozen=True)
class Step:
    """One step of learning.

    Attributes:
        number: drawings seen so far, or gradient steps taken.
        drawing: id of the drawing that was added, ``None`` for gradient steps.
        probabilities: ``[way]``; 0 for a class that has no drawing yet.
    """

    number: int
    drawing: str | None
    probabilities: NDArray[np.float64]


def steps_of(learned: Learned, reply: Reply, order: tuple[str, ...]) -> tuple[str, list[Step]]:
    """What the learner would have said of the same picture earlier.

    A learner that takes gradient steps is asked after each of them. All others adapt in one go: they are asked
    after each drawing, in the order in which they were drawn.

    Args:
        learned: from which drawings.
        reply: what was asked.
        order: ids of drawings as they were added; may hold others.

    Returns:
        ``"gradient steps"`` or ``"drawings"``, and up to `MOST_STEPS` steps, evenly spread, the last among them.
    """
    learner = learned.teacher.source.learner
    if learned.teacher.own_way and isinstance(learner, GradientLearner):
        return "gradient steps", _inner_steps(learned, reply, learner)
    return "drawings", _drawing_by_drawing(learned, reply, order)


def _inner_steps(learned: Learned, reply: Reply, learner: GradientLearner) -> list[Step]:
    classes = torch.ones(len(learned.concepts), dtype=torch.bool)
    support = Examples(as_tensor(learned.inputs), torch.from_numpy(learned.targets), classes=classes)
    temperature, found = learned.adapted.temperature, []
    with evaluating(learner), torch.no_grad():
        carry, wanted = learner.start(support), set(_spread(learner.steps + 1))
        for k in range(learner.steps + 1):
            if k in wanted:
                logits = learner.predict(learner.finish(carry, support), as_tensor(reply.inputs)) / temperature
                found.append(Step(k, None, logits.softmax(-1)[0].double().numpy()))
            if k < learner.steps:
                carry, _ = learner.step(carry, support, k)
    return found


def _drawing_by_drawing(learned: Learned, reply: Reply, order: tuple[str, ...]) -> list[Step]:
    place = {name: number for number, name in enumerate(order)}
    # Those that nobody knows the order of (a skill from a file) come as they lie.
    rows = sorted(range(len(learned.drawings)), key=lambda row: place.get(learned.drawings[row].id, len(order) + row))
    found = []
    for count in _spread(len(rows)):
        some = np.sort(np.array(rows[: count + 1]))
        drawing = learned.drawings[rows[count]].id
        found.append(Step(count + 1, drawing, _asked(learned, reply, some)))
    return found


def _asked(learned: Learned, reply: Reply, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities of all classes when only some drawings are known."""
    slots, targets = np.unique(learned.targets[rows], return_inverse=True)
    probabilities = np.zeros(len(learned.concepts))
    if len(rows) == len(learned.drawings):
        return reply.probabilities
    if len(slots) == 1:
        probabilities[slots] = 1.0
        return probabilities
    try:
        adapted = learned.teacher.adapt(learned.inputs[rows], targets.astype(np.int64), len(slots))
    except LearnerError:
        probabilities[slots] = 1.0 / len(slots)
        return probabilities
    probabilities[slots] = softmax(adapted.logits(reply.inputs))[0]
    return probabilities


def _spread(count: int) -> list[int]:
    """Up to `MOST_STEPS` of ``0 .. count − 1``, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_STEPS)).tolist()})
