"""Laws of the meta-gradient: finite differences, strategies, shared and unused parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.learners.base import Gradients, Learner
from metacortex.task import Task, stack_tasks
from metacortex.testing.law import MakeLearner, MakeTask, build, distance, draw, modes, require, scores
from metacortex.tree import tree_leaves

__all__ = ["check_meta_gradient", "check_shared_parameters", "check_strategies", "finite_difference_gap"]


def finite_difference_gap(
    learner: Learner, tasks: Sequence[Task], gradients: Gradients, *, directions: int = 3, step: float = 1e-5
) -> float:
    """Largest gap between g·v and (L(φ + hv) − L(φ − hv)) / 2h over random unit directions v.

    Args:
        learner: in float64; its mode is kept.
        tasks: in float64; L is the sum of their losses.
        gradients: g, the claimed dL/dφ by parameter name.
        directions: how many directions are tried.
        step: h.

    Returns:
        The gap relative to the length of g, or to one where that is shorter.
    """
    phi, generator = learner.meta_parameters(), torch.Generator().manual_seed(2)

    def loss(scale: float, direction: dict[str, Tensor]) -> float:
        moved = {name: p + scale * direction[name] for name, p in phi.items()}
        with torch.no_grad():
            return sum(float(learner.call(moved, "loss", task).loss) for task in tasks)

    def length(tensors: dict[str, Tensor]) -> float:
        return sum(float((x * x).sum()) for x in tensors.values()) ** 0.5

    worst = 0.0
    for _ in range(directions):
        direction = {name: torch.randn(p.shape, generator=generator).to(p) for name, p in phi.items()}
        size = length(direction)
        direction = {name: v / size for name, v in direction.items()}
        measured = (loss(step, direction) - loss(-step, direction)) / (2 * step)
        claimed = sum(float((gradients[name] * v).sum()) for name, v in direction.items())
        gap = abs(claimed - measured) / max(1.0, length(gradients))
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def check_meta_gradient(
    make_learner: MakeLearner, make_task: MakeTask, *, directions: int = 3, tolerance: float = 1e-7
) -> None:
    """`Learner.task_gradient` is the derivative of `Learner.loss` in φ, by central differences in float64.

    Not for learners whose outer gradient is an approximation on purpose (first order).

    Args:
        make_learner: makes the learner.
        make_task: makes a small task.
        directions: how many random directions are tried.
        tolerance: allowed gap, see `finite_difference_gap`.

    Raises:
        LawError: giving the gap, or naming a parameter whose gradient is missing.
    """
    learner, task = build(make_learner), draw(make_task)
    phi = learner.meta_parameters()
    if not phi:
        return
    for mode in modes(learner):
        gradients, outcome = learner.task_gradient(task)
        missing = set(phi) ^ set(gradients)
        require(not missing, "meta-gradient", f"in {mode} these names differ from the parameters': {sorted(missing)}")
        attached = [x for x in tree_leaves((gradients, outcome)) if isinstance(x, Tensor) and x.requires_grad]
        require(not attached, "meta-gradient", f"in {mode} task_gradient returned tensors that are not detached")
        gap = finite_difference_gap(learner, [task], gradients, directions=directions)
        require(gap < tolerance, "meta-gradient", f"in {mode} it differs from finite differences by {gap:.1e}")


def check_strategies(
    make_learner: MakeLearner,
    make_task: MakeTask,
    *,
    strategies: Collection[str] | None = None,
    tolerance: float = 1e-9,
) -> None:
    """Every strategy gives the gradient, loss, predictions, metrics and buffers of ``loop``.

    Args:
        make_learner: makes the learner.
        make_task: makes a small task.
        strategies: names; all registered ones when ``None``.
        tolerance: allowed difference in float64.

    Raises:
        LawError: naming the strategy and the part that differs.
    """
    learner = build(make_learner)
    if not learner.meta_parameters():
        return
    batch = stack_tasks([draw(make_task, seed) for seed in range(2)])
    expected = _parts(learner.train(), batch, "loop")
    for strategy in strategy_names() if strategies is None else strategies:
        for part, value in _parts(learner, batch, strategy).items():
            gap = distance(value, expected[part])
            require(gap < tolerance, "strategies", f"'{strategy}' differs from 'loop' in {part} by {gap:.1e}")


def _parts(learner: Learner, batch: Task, strategy: str) -> dict[str, Any]:
    gradients, outcome = meta_gradient(learner, batch, strategy=strategy, reduction="sum")
    ordered = {name: gradients[name] for name in sorted(gradients)}
    return {"gradient": ordered, "prediction": outcome.prediction, **scores(outcome)}


class _Shared(nn.Module):
    """Two layers with one weight, a parameter without use and a frozen one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, outputs)
        self.first = nn.Linear(outputs, outputs)
        self.second = nn.Linear(outputs, outputs)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.full((outputs,), 0.5), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(torch.tanh(self.enter(x.flatten(1))))
        return self.second(torch.tanh(hidden)) + self.frozen


def check_shared_parameters(
    wrap: Callable[[nn.Module], Learner], make_task: MakeTask, *, outputs: int, exact: bool = True
) -> None:
    """A module with tied, unused and frozen parameters works: one gradient for the tie, zero, none.

    Args:
        wrap: makes a learner on a module from inputs ``[N, ...]`` to ``[N, outputs]``.
        make_task: makes a small task.
        outputs: length of the module's output.
        exact: whether the learner's gradient is that of its loss (not first order).

    Raises:
        LawError: naming the parameter that is treated wrongly.
    """
    task = draw(make_task)
    width = task.support.inputs[0].numel()
    learner = build(lambda: wrap(_Shared(width, outputs)))
    for mode in modes(learner):
        gradients, _ = learner.task_gradient(task)
        tied = [name for name in gradients if name.endswith(("first.weight", "second.weight"))]
        require(len(tied) == 1, "shared", f"in {mode} expected one gradient for the tied weight, got {tied}")
        unused = [g for name, g in gradients.items() if name.endswith("unused")]
        require(unused and not unused[0].any(), "shared", f"in {mode} the gradient of an unused parameter is not zero")
        frozen = [name for name in gradients if name.endswith("frozen")]
        require(not frozen, "shared", f"in {mode} a parameter with requires_grad=False got a gradient")
        gap = finite_difference_gap(learner, [task], gradients) if exact else 0.0
        require(gap < 1e-7, "shared", f"in {mode} with a tied weight the gradient is wrong by {gap:.1e}")
