"""Laws of symmetry: order, padding, stacking, the other queries, and the size of a task do not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metacortex.engine.gradient import evaluate_tasks, meta_gradient, strategy_names
from metacortex.errors import LearnerError
from metacortex.learners.base import Learner
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing.law import (
    LawError,
    MakeLearner,
    MakeTask,
    build,
    distance,
    draw,
    is_transductive,
    modes,
    require,
    scores,
)
from metacortex.tree import tree_map

__all__ = ["check_any_way", "check_independence", "check_masks", "check_order", "check_stacking"]

TOLERANCE = 1e-9


def _take(examples: Examples, rows: Tensor) -> Examples:
    mask = None if examples.mask is None else examples.mask[rows]
    inputs = tree_map(lambda x: x[rows], examples.inputs)
    return replace(examples, inputs=inputs, targets=examples.targets[rows], mask=mask)


def check_order(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """The order of the support set is irrelevant.

    Raises:
        LawError: giving the largest change of a prediction.
    """
    learner, task = build(make_learner), draw(make_task)
    order = torch.randperm(task.support.targets.shape[0], generator=torch.Generator().manual_seed(3))
    for mode in modes(learner):
        predictions = [
            learner.predict(learner.adapt(support, description=task.description), task.query.inputs)
            for support in (task.support, _take(task.support, order))
        ]
        gap = distance(*predictions)
        require(gap < TOLERANCE, "order", f"in {mode} another order of the support set moves predictions by {gap:.1e}")


def _padded(examples: Examples, rows: int, slots: int) -> Examples:
    """The examples with rows of noise (of ids: a repeated row) and class slots added that the masks declare void."""
    generator = torch.Generator().manual_seed(4)
    count = examples.targets.shape[0]
    mask = torch.ones(count, dtype=torch.bool) if examples.mask is None else examples.mask

    def noise(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return torch.cat([x, x[:1].expand(rows, *x.shape[1:])])
        return torch.cat([x, 3 * torch.randn(rows, *x.shape[1:], generator=generator).to(x)])

    classes = examples.classes
    if classes is not None:
        classes = torch.cat([classes, classes.new_zeros(slots)])
    ids = examples.classes is None and not examples.targets.is_floating_point()
    void = examples.targets.new_zeros(rows, *examples.targets.shape[1:])
    targets = noise(examples.targets) if ids else torch.cat([examples.targets, void])
    return Examples(tree_map(noise, examples.inputs), targets, torch.cat([mask, mask.new_zeros(rows)]), classes)


def check_masks(make_learner: MakeLearner, make_task: MakeTask, *, rows: int = 2, slots: int = 1) -> None:
    """Padding changes nothing: neither loss nor gradient, predictions, metrics or buffers.

    Args:
        make_learner: makes the learner; one with a fixed head needs ``slots`` more outputs than the way.
        make_task: makes a small task.
        rows: padding rows added to support and query set.
        slots: padding class slots added.

    Raises:
        LawError: naming what padding changes.
    """
    learner, task = build(make_learner), draw(make_task)
    padded = replace(task, support=_padded(task.support, rows, slots), query=_padded(task.query, rows, slots))
    count = task.query.targets.shape[0]
    for mode in modes(learner):
        plain, masked = learner.loss(task), learner.loss(padded)
        logits = masked.prediction[:count]
        if task.query.classes is not None:
            chosen = logits.argmax(-1)
            require(int(chosen.max()) < task.query.way, "masks", f"in {mode} a padding class slot was predicted")
            logits = logits[:, : task.query.way]
        gap = distance(logits, plain.prediction)
        require(gap < TOLERANCE, "masks", f"in {mode} padding moves predictions by {gap:.1e}")
        for part, value in scores(plain).items():
            gap = distance(scores(masked)[part], value)
            require(gap < TOLERANCE, "masks", f"in {mode} padding moves the {part} by {gap:.1e}")
        if learner.meta_parameters():
            gap = distance(learner.task_gradient(padded)[0], learner.task_gradient(task)[0])
            require(gap < TOLERANCE, "masks", f"in {mode} padding moves the gradient by {gap:.1e}")


def _smaller(task: Task) -> Task:
    """The task with the last query left out and, where there are two of its class, the last support row."""
    targets = task.support.targets
    keep = torch.ones(targets.shape[0], dtype=torch.bool)
    keep[-1] = task.support.classes is not None and int((targets == targets[-1]).sum()) < 2
    queries = torch.arange(task.query.targets.shape[0] - 1)
    return replace(task, support=_take(task.support, keep.nonzero()[:, 0]), query=_take(task.query, queries))


def check_stacking(make_learner: MakeLearner, make_task: MakeTask, *, tolerance: float = TOLERANCE) -> None:
    """Tasks of different size, stacked, give what they give one by one, with every strategy.

    Raises:
        LawError: naming the strategy and what differs.
    """
    learner = build(make_learner)
    tasks = [draw(make_task, 0), _smaller(draw(make_task, 1))]
    batch = stack_tasks(tasks)
    singles = [evaluate_tasks(learner, stack_tasks([task])).loss for task in tasks]
    gap = distance(evaluate_tasks(learner, batch).loss, torch.cat(singles))
    require(gap < tolerance, "stacking", f"evaluation of a ragged batch differs by {gap:.1e}")
    if not learner.meta_parameters():
        return
    parts = [learner.train().task_gradient(task) for task in tasks]
    expected = tree_map(torch.add, parts[0][0], parts[1][0])
    for strategy in strategy_names():
        gradients, outcome = meta_gradient(learner, batch, strategy=strategy, reduction="sum")
        gap = max(distance({k: gradients[k] for k in expected}, expected), _loss_gap(outcome.loss, parts))
        require(gap < tolerance, "stacking", f"a ragged batch under '{strategy}' differs by {gap:.1e}")


def _loss_gap(total: Tensor, parts: Sequence[tuple]) -> float:
    return distance(total, parts[0][1].loss + parts[1][1].loss)


def check_independence(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """At evaluation, the prediction for a query depends on no other query, unless declared transductive.

    Raises:
        LawError: giving the largest change of a prediction.
    """
    learner, task = build(make_learner).eval(), draw(make_task)
    if is_transductive(learner):
        return
    predictor, inputs = learner.bind(learner.adapt(task.support, description=task.description)), task.query.inputs
    together = predictor(inputs)
    rows = [torch.tensor([i]) for i in range(together.shape[0])]
    alone = torch.cat([predictor(tree_map(lambda x, row=row: x[row], inputs)) for row in rows])
    gap = distance(alone, together)
    require(
        gap < TOLERANCE,
        "independence",
        f"a prediction moves by {gap:.1e} when the other queries are left out; a learner that means this "
        "declares it with an attribute transductive = True",
    )


def check_any_way(
    make_learner: MakeLearner,
    make_task: Callable[[torch.Generator, int, int], Task],
    *,
    sizes: Sequence[tuple[int, int]] = ((2, 1), (3, 2), (6, 1)),
) -> None:
    """One learner serves tasks of any way and shot (for learners that claim so).

    Args:
        make_learner: makes the learner.
        make_task: from a generator, way and shot.
        sizes: pairs of way and shot.

    Raises:
        LawError: naming the size that fails.
    """
    learner: Learner = build(make_learner)
    for mode in modes(learner):
        for way, shot in sizes:
            task = draw(lambda generator, way=way, shot=shot: make_task(generator, way, shot))
            try:
                outcome = learner.loss(task)
            except (LearnerError, RuntimeError, IndexError) as error:
                raise LawError(f"any way: in {mode} a {way}-way {shot}-shot task fails: {error}") from error
            right = outcome.prediction.shape[-1] == way and bool(outcome.loss.isfinite())
            require(right, "any way", f"in {mode} a {way}-way task gives predictions {tuple(outcome.prediction.shape)}")
