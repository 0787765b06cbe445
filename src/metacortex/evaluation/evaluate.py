"""Scores of a learner on fixed tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from metacortex.errors import DataError
from metacortex.evaluation.results import EvaluationResult
from metacortex.nn.mode import evaluating
from metacortex.tasks.placed import place

if TYPE_CHECKING:
    from metacortex.engine.distributed import Ranks
    from metacortex.learners.base import Learner, Outcome
    from metacortex.task import Task
    from metacortex.tasks.source import TaskSource

__all__ = ["evaluate"]

_WORTH_RECORDING = 8
"""Batches from which on a GPU records what it does with them."""


def evaluate(
    learner: Learner,
    episodes: TaskSource,
    tasks: int = 600,
    *,
    batch: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[Task, Outcome], None] | None = None,
    precision: str = "float32",
    ranks: Ranks | None = None,
) -> EvaluationResult:
    """Score a learner on the tasks ``0 .. tasks-1`` of a source.

    The learner is in evaluation mode meanwhile and no graph is kept; parameters, buffers, modes
    and the global random state are bit for bit as before.

    Args:
        learner: what is evaluated, on its device.
        episodes: where the tasks come from.
        tasks: how many; 600 is what the field reports.
        batch: tasks handed to the engine at once; no result depends on it beyond rounding.
        seed: of the randomness that a learner may use to adapt.
        progress: called with (tasks done, tasks) after each batch.
        observe: called with each batch of tasks and what came of it.
        precision: of convolutions and matrix products, see `metacortex.engine.precision.PRECISIONS`.
        ranks: processes that share the batches; each returns the whole result, and is told of its own tasks only.

    Returns:
        An `EvaluationResult` with one score per task: the metric by which the learner's objective
        chooses, e.g. accuracy, or the mean squared error of a regression.

    Raises:
        DataError: for fewer than one task.

    *Differentiability*: none, nothing is recorded.
    """
    from metacortex.engine.devices import device_of, random_devices
    from metacortex.engine.gradient import evaluate_tasks

    if tasks < 1 or batch < 1:
        raise DataError(f"an evaluation needs at least one task and batches of at least one, got {tasks} and {batch}")
    found: dict[str, list[torch.Tensor]] = {}
    firsts: Sequence[int] = range(0, tasks, batch)
    if ranks is not None:
        firsts = [firsts[i] for i in ranks.share(len(firsts))]
    device = device_of(learner)
    placed = place(episodes, device)
    with evaluating(learner), torch.random.fork_rng(devices=random_devices(device)):
        for first in firsts:
            torch.manual_seed(seed + first)
            count = min(batch, tasks - first)
            drawn = placed.batch(range(first, first + count))
            outcome = evaluate_tasks(learner, drawn, precision=precision, replay=tasks >= _WORTH_RECORDING * batch)
            if observe is not None:
                observe(drawn, outcome)
            for name, values in (*outcome.metrics.items(), ("loss", outcome.loss)):
                found.setdefault(name, []).append(values.double().cpu())
            if progress is not None:
                progress(first + count, tasks)
    metrics = {name: torch.cat(values) for name, values in found.items()}
    if ranks is not None:
        shares = [share for share in ranks.gather(metrics) if share]
        metrics = {name: torch.cat([share[name] for share in shares]) for name in shares[0]}
    # Single precision: further digits would be noise.
    scores = [round(score, 7) for score in metrics.pop(learner.objective.score).tolist()]
    return EvaluationResult.of(
        scores,
        float(metrics.pop("loss").mean()),
        protocol=episodes.protocol + ("" if precision == "float32" else f"; precision {precision}"),
        fingerprint=episodes.fingerprint(tasks),
        metric=learner.objective.score,
        higher_is_better=learner.objective.higher_is_better,
        metrics={name: float(values.mean()) for name, values in metrics.items()},
    )
