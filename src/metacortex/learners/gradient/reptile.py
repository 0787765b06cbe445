"""Reptile: move the initial weights towards the adapted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import Gradients, Outcome
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import InnerLoopSettings
from metacortex.task import Examples, Task
from metacortex.tree import tree_map
from metacortex.updates.adam import Adam
from metacortex.updates.sgd import SGD

__all__ = ["Reptile", "ReptileSettings"]


@dataclass(frozen=True)
class ReptileSettings(InnerLoopSettings):
    """Settings of `Reptile`; those not listed are in `InnerLoopSettings`.

    Attributes:
        rule: ``"adam"`` (without momentum, as published) or ``"sgd"``.
        batch_size: examples of an inner step while meta-training; 0: all of them.
        learn_from: ``"task"``: the inner loop of meta-training sees support and query set, as Reptile
            needs no split; ``"support"``: the support set alone.
    """

    inner_steps: int = 5
    eval_steps: int = 50
    rule: Literal["adam", "sgd"] = "adam"
    batch_size: int = 10
    learn_from: Literal["task", "support"] = "task"


class Reptile(GradientLearner):
    """dL/dθ := (θ − θ_K) / α, with θ_K the weights after K inner steps from θ on the task's examples.

    With an outer step of rate ε this is θ ← θ + ε/α · (θ_K − θ): serial Reptile with one task in a
    meta-batch, batched Reptile with several. In expectation over minibatches the direction holds the
    gradient of the loss and, as MAML's, a term that lets gradients of different minibatches agree.
    It is not the derivative of any loss that is computed.

    While meta-training, inner step k sees a minibatch; minibatches are taken in turns, spread evenly
    over the examples. Adaptation to a new task sees the whole support set in each step.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: α.
        inner_steps: K while meta-training.
        rule: ``"adam"`` or ``"sgd"``.
        batch_size: see `ReptileSettings`, as the next.
        learn_from: ``"task"`` or ``"support"``.
        choices: the other choices of `GradientLearner` but ``order`` and ``unroll``: ``adapt``, ``norm`` …

    Raises:
        SettingsError: for values out of range.

    Example:
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> learner = Reptile(nn.Linear(2, 2), inner_steps=3, batch_size=0)
        >>> sorted(learner.task_gradient(Task.classification(x, y, x, y))[0])
        ['body.model.bias', 'body.model.weight']

    Reference: Nichol, Achiam and Schulman, "On First-Order Meta-Learning Algorithms", 2018,
    algorithms 1 and 2. Its outer optimiser is SGD with a falling rate; any may be used.
    """

    name: ClassVar[str] = "reptile"
    train_tasks: ClassVar[int] = 5
    default_lr: ClassVar[float] = 1e-3

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 1e-3,
        inner_steps: int = 5,
        *,
        rule: str = "adam",
        batch_size: int = 10,
        learn_from: str = "task",
        **choices: Any,
    ) -> None:
        if rule not in ("adam", "sgd") or learn_from not in ("task", "support") or batch_size < 0:
            raise SettingsError(
                f"reptile: expected rule 'adam' or 'sgd', learn_from 'task' or 'support' and a batch_size of at least "
                f"0, got '{rule}', '{learn_from}' and {batch_size}"
            )
        update = Adam(inner_lr, betas=(0.0, 0.999)) if rule == "adam" else SGD(inner_lr)
        super().__init__(model, update, inner_steps=inner_steps, order=1, **choices)
        self.inner_lr, self.batch_size, self.learn_from = inner_lr, batch_size, learn_from

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """(θ − θ_K) / α, zero for parameters that are not adapted; the outcome scores θ_K on the query set."""
        phi = self.meta_parameters()
        examples = task.support if self.learn_from == "support" else joined(task.support, task.query)
        with torch.no_grad():
            carry, seen = self.call(phi, "start", examples), {}
            first = carry["fast"]
            for k in range(self.steps):
                part = minibatch(examples, self.batch_size, k) if self.batch_size else examples
                carry, statistics = self.call(phi, "step", carry, part, k)
                if self.body.refreshes:
                    seen[k] = statistics
            outcome = self.call(phi, "score", carry, task, seen)
            moved = {f"body.model.{name}": (w - carry["fast"][name]) / self.inner_lr for name, w in first.items()}
            gradients = {name: moved[name] if name in moved else torch.zeros_like(p) for name, p in phi.items()}
        return gradients, tree_map(torch.Tensor.detach, outcome)


def joined(first: Examples, second: Examples) -> Examples:
    """Two sets of examples of the same task as one."""
    mask = None
    if first.mask is not None or second.mask is not None:
        mask = torch.cat([_real(part) for part in (first, second)])
    inputs = tree_map(lambda a, b: torch.cat([a, b]), first.inputs, second.inputs)
    return Examples(inputs, torch.cat([first.targets, second.targets]), mask, first.classes)


def minibatch(examples: Examples, size: int, k: int) -> Examples:
    """The ``k``-th minibatch of a set that is gone through again and again.

    A pass is cut into as few minibatches as the size allows. Their rows are spread evenly over the set,
    so that one sorted by class gives mixed ones. A function of its arguments alone, also for padded sets.

    Args:
        examples: with ``[N]`` rows.
        size: largest number of rows of a minibatch, at least 1.
        k: its number, from 0.

    Returns:
        At most ``size`` rows; fewer real ones where the set does not divide evenly.

    Example:
        >>> rows = Examples(torch.arange(5.0), torch.zeros(5))
        >>> [minibatch(rows, 2, k).inputs.tolist() for k in range(4)]
        [[0.0, 3.0], [1.0, 4.0], [2.0], [0.0, 3.0]]
    """
    total = examples.targets.shape[0]
    if examples.mask is None:
        stride = -(-total // size)
        rows = torch.arange(k % max(stride, 1), total, max(stride, 1), device=examples.targets.device)
        return _rows(examples, rows, None)
    count = examples.mask.sum()
    stride = ((count + size - 1) // size).clamp_min(1)
    # Real rows first, in their order.
    order = torch.argsort((~examples.mask).to(torch.int8), stable=True)
    places = k % stride + stride * torch.arange(min(size, total), device=order.device)
    return _rows(examples, order[places.clamp_max(total - 1)], places < count)


def _rows(examples: Examples, rows: Tensor, mask: Tensor | None) -> Examples:
    return Examples(tree_map(lambda x: x[rows], examples.inputs), examples.targets[rows], mask, examples.classes)


def _real(examples: Examples) -> Tensor:
    if examples.mask is not None:
        return examples.mask
    return torch.ones(examples.targets.shape[:1], dtype=torch.bool, device=examples.targets.device)
