"""Are the reasons true? What happens when what was named is taken away, against something else that is.

To be better than something taken at random is not much: which strokes of a drawing are telling can be seen without
having learned anything, and even a network of random weights names better pixels than chance does. So the reasons
are also compared with those of an untrained learner of the same architecture, on the same tasks. A second untrained
learner, put to the test in place of the learner itself (``explained_by``), must not pass.

Reference: Adebayo et al., "Sanity Checks for Saliency Maps", 2018 (random weights); Samek et al., "Evaluating the
Visualization of What a Deep Neural Network Has Learned", 2017 (deletion of pixels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.errors import DataError
from metacortex.evaluation.intervals import Interval, paired_interval
from metacortex.explain.influence import influences, without
from metacortex.explain.pixels import integrated_gradients
from metacortex.explain.scores import log_odds
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.task import Examples, Task

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.tasks.source import TaskSource

__all__ = ["Check", "Faithfulness", "check_faithfulness"]

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the pixels that are deleted."""


@dataclass(frozen=True)
class Check:
    """Paired differences over tasks: what was named does more than something else.

    Attributes:
        random: than something taken at random.
        untrained: than what an untrained learner named; ``None`` where none was given.
    """

    random: Interval
    untrained: Interval | None = None

    @property
    def passes(self) -> bool:
        """Whether both intervals lie above 0."""
        return self.random.low > 0 and (self.untrained is None or self.untrained.low > 0)


@dataclass(frozen=True)
class Faithfulness:
    """What taking away showed; differences above 0 speak for the reasons.

    Attributes:
        examples: log-odds of the answer lost without the support example named most helpful, minus that lost
            without another one of its class. For a learner's own reasons this is so by construction, as leaving out is
            how they were found; it is a check of those that come from elsewhere.
        elsewhere: the same of the *other* queries of that class, which the reasons had not seen.
        pixels: mean probability of the answer while other pixels are deleted, minus that while those named most
            important are, over 5 to 50 % of the pixels; ``None`` where no pixels were asked for.
        tasks: how many tasks.
    """

    examples: Check
    elsewhere: Check
    pixels: Check | None
    tasks: int

    @property
    def passes(self) -> bool:
        """Whether every check does."""
        return all(check.passes for check in (self.examples, self.elsewhere, self.pixels) if check is not None)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "passes": self.passes}


def check_faithfulness(
    learner: Learner,
    tasks: TaskSource,
    count: int = 300,
    *,
    explained_by: Learner | None = None,
    untrained: Learner | None = None,
    pixels: bool = True,
    seed: int = 0,
) -> Faithfulness:
    """Take away what explanations name, on one query of each of many tasks.

    Args:
        learner: whose answers are explained.
        tasks: classification tasks of at least 2 shots and 2 queries per class.
        count: how many of them.
        explained_by: makes the explanations instead of the learner itself.
        untrained: a learner of random weights, whose explanations are to be surpassed.
        pixels: whether to check pixels too.
        seed: of the random choices.

    Raises:
        DataError: for tasks without a second shot or query of the class that is answered.
    """
    sources = {"named": explained_by or learner, **({} if untrained is None else {"untrained": untrained})}
    draw = torch.Generator().manual_seed(seed)
    lost: list[tuple[dict[str, float], dict[str, float]]] = []
    kept: list[dict[str, float]] = []
    for index in range(count):
        task = tasks.task(index).without_info()
        row = int(torch.randint(len(task.query.targets), (1,), generator=draw))
        query = task.query.inputs[row : row + 1]
        with evaluating(learner), torch.no_grad(), fused_kernels():
            answer = learner.predict(learner.adapt(task.support), query).argmax(-1)  # [1]
        lost.append(_without_examples(learner, sources, task, row, answer, draw))
        if pixels:
            kept.append(_without_pixels(learner, sources, task.support, query, answer, draw))
    same, other = (_check([pair[i] for pair in lost], 1.0) for i in (0, 1))
    return Faithfulness(same, other, _check(kept, -1.0) if kept else None, count)


def _check(rows: Sequence[Mapping[str, float]], sign: float) -> Check:
    """The paired differences "named minus other", times the sign."""

    def gap(other: str) -> Interval:
        return paired_interval([sign * row["named"] for row in rows], [sign * row[other] for row in rows])

    return Check(gap("random"), gap("untrained") if "untrained" in rows[0] else None)


def _without_examples(
    learner: Learner, sources: Mapping[str, Learner], task: Task, row: int, answer: Tensor, draw: torch.Generator
) -> tuple[dict[str, float], dict[str, float]]:
    """Log-odds of the answer lost without the example that each source names, and without others of its class.

    The first of the query that was explained, the second of the other queries of that class, on average.
    """
    support, slot = task.support, int(answer[0])
    own = (support.targets == slot).nonzero()[:, 0].tolist()
    others = [i for i in (task.query.targets == slot).nonzero()[:, 0].tolist() if i != row]
    if len(own) < 2 or not others:
        raise DataError(
            f"the check needs tasks of at least 2 shots and 2 queries per class, got {len(own)} support examples and "
            f"{len(others)} other queries of the class answered"
        )
    asked = task.query.inputs[[row, *others]]
    with evaluating(learner), torch.no_grad(), fused_kernels():
        held = [_odds(learner, rest, asked, slot) for rest in (support, *(without(support, i) for i in own))]
    drop = {i: held[0] - after for i, after in zip(own, held[1:], strict=True)}
    query = task.query.inputs[row : row + 1]
    same, other = {}, {}
    for name, source in sources.items():
        share = influences(source, support, query, answer, among=own)[0]
        best = max(own, key=lambda i: float(share[i]))
        same[name], other[name] = float(drop[best][0]), float(drop[best][1:].mean())
        if name == "named":
            left = [i for i in own if i != best]
            lot = left[int(torch.randint(len(left), (1,), generator=draw))]
            same["random"], other["random"] = float(drop[lot][0]), float(drop[lot][1:].mean())
    return same, other


def _odds(learner: Learner, support: Examples, inputs: Any, slot: int) -> Tensor:
    return log_odds(learner.predict(learner.adapt(support), inputs))[:, slot]


def _without_pixels(
    learner: Learner,
    sources: Mapping[str, Learner],
    support: Examples,
    query: Tensor,
    answer: Tensor,
    draw: torch.Generator,
) -> dict[str, float]:
    """Mean probability of the answer while the pixels that each source names, and random ones, are deleted."""
    # Only pixels that show something can be deleted; random ones are drawn from the same.
    drawn = (query[0].abs().sum(0).flatten() > 0).nonzero()[:, 0]
    orders = {"random": drawn[torch.randperm(len(drawn), generator=draw)]}
    for name, source in sources.items():
        with evaluating(source), torch.no_grad():
            made = source.adapt(support)
        heat = integrated_gradients(source, made, query, answer)[0].sum(0).flatten()  # [H*W']
        orders[name] = drawn[heat[drawn].argsort(descending=True)]
    with evaluating(learner), torch.no_grad(), fused_kernels():
        state = learner.adapt(support)
        return {name: _curve(learner, state, query, order, int(answer[0])) for name, order in orders.items()}


def _curve(learner: Learner, state: Any, query: Tensor, order: Tensor, slot: int) -> float:
    """Mean probability of a class while more and more pixels are deleted, in this order."""
    images = query.repeat(len(_SHARES), 1, 1, 1)
    for row, part in enumerate(_SHARES):
        images[row].flatten(1)[:, order[: max(1, round(part * len(order)))]] = 0.0
    # One at a time: no statistic of the batch may make one image depend on another.
    each = [learner.predict(state, image).softmax(-1)[0, slot] for image in images.split(1)]
    return float(torch.stack(each).mean())
