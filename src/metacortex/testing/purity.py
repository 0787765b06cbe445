"""Laws of purity: calls change nothing, evaluation leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from metacortex.engine.footprint import PeakMemory
from metacortex.engine.gradient import evaluate_tasks
from metacortex.learners.base import Learner, Outcome
from metacortex.nn.mode import evaluating
from metacortex.task import Task, stack_tasks
from metacortex.testing.law import MakeLearner, MakeTask, Snapshot, build, draw, modes, require, same_bits
from metacortex.tree import tree_leaves

__all__ = ["PeakMemory", "check_evaluation", "check_memory", "check_module_untouched", "check_pure"]


def _everything(learner: Learner, task: Task) -> list[Any]:
    """Whatever a learner can be asked for, as detached tensors."""
    state = learner.adapt(task.support, description=task.description)
    results = [state, learner.predict(state, task.query.inputs), learner.embed(state, task.query.inputs)]
    results.append(learner.loss(task))
    predictor = learner.bind(state)
    results += [predictor(task.query.inputs), predictor.embed(task.query.inputs)]
    if learner.meta_parameters():
        results.append(learner.task_gradient(task))
    return [x.detach() for x in tree_leaves(results) if isinstance(x, Tensor)]


def check_pure(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """No call of the protocol changes a parameter, buffer, mode, random state or the task; calls repeat bit for bit.

    Raises:
        LawError: naming what changed.
    """
    learner, task = build(make_learner), draw(make_task)
    for mode in modes(learner):
        snapshot = Snapshot(learner, task)
        first = _everything(learner, task)
        changed = snapshot.changes()
        require(not changed, "pure", f"in {mode} a call changed {', '.join(changed[:5])}")
        require(same_bits(first, _everything(learner, task)), "pure", f"in {mode} a second call gave other values")


def _scored(learner: Learner, task: Task) -> Outcome:
    """What the learner itself gives in evaluation: the engine stacks it into tensors that keep no graph."""
    with evaluating(learner), torch.no_grad():
        return learner.loss(task)


def check_evaluation(make_learner: MakeLearner, make_task: MakeTask) -> None:
    """Evaluation keeps no graph, leaves everything bit-identical and repeats bit for bit.

    Raises:
        LawError: naming what was kept or changed.
    """
    learner, task = build(make_learner).train(), draw(make_task)
    batch = stack_tasks([task, draw(make_task, 1)])
    predictor = learner.bind(learner.adapt(task.support, description=task.description))
    snapshot = Snapshot(learner, batch)

    def evaluate() -> list[Any]:
        outcomes = evaluate_tasks(learner, batch), _scored(learner, task)
        return tree_leaves([*outcomes, predictor(task.query.inputs), predictor.state])

    results = evaluate()
    kept = [x for x in results if isinstance(x, Tensor) and (x.requires_grad or x.grad_fn is not None)]
    require(not kept, "evaluation", "a result requires a gradient, so it keeps the graph of the adaptation alive")
    changed = snapshot.changes()
    require(not changed, "evaluation", f"it changed {', '.join(changed[:5])}")
    require(same_bits(results, evaluate()), "evaluation", "a second evaluation gave other values")


def check_memory(
    make_learner: Callable[[int], Learner],
    make_task: MakeTask,
    *,
    steps: tuple[int, int] = (2, 10),
    growth: float = 1.02,
) -> None:
    """The memory of an evaluation does not grow with the number of inner steps.

    Args:
        make_learner: from a number of inner steps.
        make_task: makes a small task.
        steps: the two numbers of steps that are compared.
        growth: allowed ratio of the peaks.

    Raises:
        LawError: giving both peaks.
    """
    batch = stack_tasks([draw(make_task)])
    peaks = []
    for count in steps:
        learner = build(lambda count=count: make_learner(count))
        with PeakMemory() as memory:
            evaluate_tasks(learner, batch)
        peaks.append(memory.peak)
    require(
        peaks[1] <= growth * peaks[0],
        "memory",
        f"evaluation takes {peaks[0]} bytes with {steps[0]} inner steps and {peaks[1]} with {steps[1]}",
    )


def check_module_untouched(
    wrap: Callable[[nn.Module], Learner], make_module: Callable[[], nn.Module], make_task: MakeTask
) -> None:
    """The user's module is neither changed by a learner nor shared with it.

    Args:
        wrap: makes a learner on a module.
        make_module: makes the module.
        make_task: makes a small task.

    Raises:
        LawError: naming what changed or is shared.
    """
    module = make_module().double()
    snapshot, task = Snapshot(module), draw(make_task)
    learner = wrap(module)
    theirs = {x.untyped_storage().data_ptr() for x in [*module.parameters(), *module.buffers()] if x.numel()}
    for name, x in [*learner.named_parameters(), *learner.named_buffers()]:
        require(
            x.untyped_storage().data_ptr() not in theirs, "module", f"'{name}' shares the memory of the user's module"
        )
    shared = {id(m) for m in module.modules()} & {id(m) for m in learner.modules()}
    require(not shared, "module", "the learner holds the user's module itself, not a copy")
    gradients, outcome = learner.train().task_gradient(task)
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            if name in gradients:
                parameter -= gradients[name]
        for name, buffer in learner.named_buffers():
            if name in outcome.buffers:
                buffer.copy_(outcome.buffers[name])
    evaluate_tasks(learner, stack_tasks([task]))
    changed = snapshot.changes(random_state=False)
    require(not changed, "module", f"meta-training changed the user's module: {', '.join(changed[:5])}")
