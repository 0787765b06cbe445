"""Are the reasons true? What happens when what was named is taken away, against something at random.

Explanations made with another learner (one of random weights, say) can be put to the same test: they
must not pass it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metacortex.evaluation.intervals import Interval, paired_interval
from metacortex.explain.influence import influences, log_probabilities, without
from metacortex.explain.pixels import integrated_gradients
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Examples, Task

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.tasks.source import TaskSource

__all__ = ["Faithfulness", "check_faithfulness"]


@dataclass(frozen=True)
class Faithfulness:
    """Paired differences over tasks; above 0 with an interval that excludes it: the reasons are true.

    Attributes:
        examples: log-probability of the answer lost without the example named most helpful, minus that lost without
            another one of its class chosen at random.
        pixels: mean probability of the answer while random pixels are deleted, minus that while those named most
            important are, over 5 to 50 % of the pixels; ``None`` where no pixels were asked for.
        tasks: how many tasks.
    """

    examples: Interval
    pixels: Interval | None
    tasks: int


def check_faithfulness(
    learner: Learner,
    tasks: TaskSource,
    count: int = 300,
    *,
    explained_by: Learner | None = None,
    pixels: bool = True,
    seed: int = 0,
) -> Faithfulness:
    """Take away what explanations name, on one query of each of many tasks.

    Args:
        learner: whose answers are explained.
        tasks: classification tasks of at least 2 shots.
        count: how many of them.
        explained_by: makes the explanations instead of the learner itself.
        pixels: whether to check pixels too.
        seed: of the random choices.
    """
    source = learner if explained_by is None else explained_by
    draw = torch.Generator().manual_seed(seed)
    losses: list[tuple[float, float]] = []
    kept: list[tuple[float, float]] = []
    for index in range(count):
        task = tasks.task(index).without_info()
        query = task.query.inputs[:1]
        with evaluating(learner), torch.no_grad(), fused_kernels():
            full = log_probabilities(learner, task.support, query)
        answer = full.argmax(-1)  # [1]
        losses.append(_without_examples(learner, source, task, query, answer, full, draw))
        if pixels:
            kept.append(_without_pixels(learner, source, task.support, query, answer, draw))
    named, random = zip(*losses, strict=True)
    share = None
    if kept:
        with_named, with_random = zip(*kept, strict=True)
        share = paired_interval(with_random, with_named)
    return Faithfulness(paired_interval(named, random), share, count)


def _without_examples(
    learner: Learner,
    source: Learner,
    task: Task,
    query: Tensor,
    answer: Tensor,
    full: Tensor,
    draw: torch.Generator,
) -> tuple[float, float]:
    """Log-probability lost without the example named, and without another one of the same class."""
    share = influences(source, task.support, query, answer)[0]
    own = (task.support.targets == answer[0]).nonzero()[:, 0]
    named = own[share[own].argmax()]
    others = own[own != named]
    other = others[torch.randint(len(others), (1,), generator=draw)[0]]
    with evaluating(learner), torch.no_grad(), fused_kernels():
        left = [log_probabilities(learner, without(task.support, int(i)), query)[0, answer[0]] for i in (named, other)]
    before = full[0, answer[0]]
    return float(before - left[0]), float(before - left[1])


def _without_pixels(
    learner: Learner, source: Learner, support: Examples, query: Tensor, answer: Tensor, draw: torch.Generator
) -> tuple[float, float]:
    """Mean probability of the answer while the pixels named, and random ones of the same number, are deleted."""
    with evaluating(source), torch.no_grad():
        made = source.adapt(support)
    heat = integrated_gradients(source, made, query, answer)[0].sum(0).flatten()  # [H*W']
    with evaluating(learner), torch.no_grad(), fused_kernels():
        state = learner.adapt(support)
        shares = (0.05, 0.1, 0.2, 0.3, 0.5)
        # Only pixels that show something can be deleted; random ones are drawn from the same.
        drawn = (query[0].abs().sum(0).flatten() > 0).nonzero()[:, 0]
        orders = [drawn[heat[drawn].argsort(descending=True)], drawn[torch.randperm(len(drawn), generator=draw)]]
        means = []
        for order in orders:
            images = query.repeat(len(shares), 1, 1, 1)
            for row, part in enumerate(shares):
                gone = order[: max(1, round(part * len(order)))]
                images[row].flatten(1)[:, gone] = 0.0
            each = [learner.predict(state, image).softmax(-1)[0, answer[0]] for image in images.split(1)]
            means.append(float(torch.stack(each).mean()))
    return means[0], means[1]
