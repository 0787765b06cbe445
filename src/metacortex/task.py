"""What is known of a task: the examples to learn from and the examples to be judged on.

Axis letters used in shapes throughout the library: T tasks, W way (classes of a task), S shot,
Q queries per class, N examples, C channels, H height, W' width, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from metacortex.errors import DataError
from metacortex.tree import tree_map

__all__ = ["Examples", "Task", "stack_tasks", "unstack_tasks"]


@dataclass(frozen=True)
class Examples:
    """A set of labelled examples.

    Attributes:
        inputs: ``[N, ...]`` tensor, or a pytree of such tensors.
        targets: ``[N]`` int64 class slots in ``0 .. way-1``, or ``[N, ...]`` floats (regression).
        mask: ``[N]`` bool, False where a row is padding; ``None`` when all rows are real.
        classes: ``[way]`` bool, False where a class slot is padding. Its length is the way of the
            task. ``None`` for regression.
    """

    inputs: Any
    targets: Tensor
    mask: Tensor | None = None
    classes: Tensor | None = None

    @property
    def way(self) -> int:
        """Number of class slots, padding included.

        Raises:
            DataError: for regression examples, which have no classes.
        """
        if self.classes is None:
            raise DataError(
                "these examples carry no classes: a classifier needs Examples(..., classes=mask "
                "of shape [way]); use Task.classification(...) to build the task"
            )
        return self.classes.shape[-1]

    def weights(self) -> Tensor:
        """``[N]`` float weights that sum to one over the real rows (for masked means)."""
        if self.mask is None:
            n = self.targets.shape[0]
            return torch.full((n,), 1.0 / max(n, 1), dtype=_float_type(self.inputs), device=self.targets.device)
        mask = self.mask.to(_float_type(self.inputs))
        return mask / mask.sum().clamp_min(1.0)


@dataclass(frozen=True)
class Task:
    """One task, or a batch of them when every tensor has a leading task axis.

    Attributes:
        support: what a learner adapts on.
        query: what its loss is measured on.
        description: anything else known of the task (tensors), or ``None``.
        info: names, identifiers, the index of the task: not tensors, left out of ``vmap``.
    """

    support: Examples
    query: Examples
    description: Any = None
    info: Any = None

    def without_info(self) -> Task:
        """The same task with tensors only, as the engine hands it to ``vmap``."""
        return self if self.info is None else replace(self, info=None)

    def to(self, target: torch.device | torch.dtype | str) -> Task:
        """A copy on another device, or with floating-point tensors of another dtype."""

        def move(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            if isinstance(target, torch.dtype) and not x.is_floating_point():
                return x
            return x.to(target)

        return replace(tree_map(move, self.without_info()), info=self.info)

    @staticmethod
    def classification(
        support_inputs: Any,
        support_targets: Tensor,
        query_inputs: Any,
        query_targets: Tensor,
        *,
        way: int | None = None,
        info: Any = None,
    ) -> Task:
        """Build a classification task from plain tensors.

        Args:
            support_inputs: ``[N_s, ...]``.
            support_targets: ``[N_s]`` int64 in ``0 .. way-1``.
            query_inputs: ``[N_q, ...]``.
            query_targets: ``[N_q]`` int64 in ``0 .. way-1``.
            way: number of classes; counted from the support set when not given.
            info: see `Task`.

        Raises:
            DataError: if inputs and targets differ in length, or a label lies outside the way.

        Example:
            >>> x, y = torch.rand(4, 2), torch.tensor([0, 0, 1, 1])
            >>> Task.classification(x, y, x, y).support.way
            2
        """
        ways = int(support_targets.max()) + 1 if way is None else way
        for name, inputs, targets in (
            ("support", support_inputs, support_targets),
            ("query", query_inputs, query_targets),
        ):
            if isinstance(inputs, Tensor) and len(inputs) != len(targets):
                raise DataError(f"{name}: expected as many targets as inputs, got {len(targets)} and {len(inputs)}")
            if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < ways:
                raise DataError(
                    f"{name}: targets must lie in 0..{ways - 1} for a {ways}-way task, "
                    f"got {int(targets.min())}..{int(targets.max())}"
                )
        classes = torch.ones(ways, dtype=torch.bool, device=support_targets.device)
        return Task(
            Examples(support_inputs, support_targets, classes=classes),
            Examples(query_inputs, query_targets, classes=classes),
            info=info,
        )


torch.export.register_dataclass(Examples)
torch.export.register_dataclass(Task)


def _float_type(inputs: Any) -> torch.dtype:
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        return inputs.dtype
    return torch.get_default_dtype()


def _pad(x: Tensor, shape: Sequence[int]) -> Tensor:
    if list(x.shape) == list(shape):
        return x
    out = x.new_zeros(*shape)
    out[tuple(slice(size) for size in x.shape)] = x
    return out


def _stack(parts: Sequence[Tensor], length: int | None = None) -> Tensor:
    """Stack, the first axis padded with zeros to ``length``; token ids (int64) to the longest along every axis."""
    shapes = [list(p.shape) for p in parts]
    if parts[0].dtype == torch.int64:
        shapes = [[max(sizes) for sizes in zip(*shapes, strict=True)]] * len(parts)
    if length is not None:
        shapes = [[length, *shape[1:]] for shape in shapes]
    return torch.stack([_pad(p, shape) for p, shape in zip(parts, shapes, strict=True)])


def _stack_examples(parts: Sequence[Examples]) -> Examples:
    lengths = [p.targets.shape[0] for p in parts]
    longest = max(lengths)
    ragged = min(lengths) != longest or any(p.mask is not None for p in parts)
    mask = None
    if ragged:
        real = [
            torch.ones(n, dtype=torch.bool) if p.mask is None else p.mask for n, p in zip(lengths, parts, strict=True)
        ]
        mask = _stack(real, longest)
    classes = None
    if parts[0].classes is not None:
        way = max(p.way for p in parts)
        classes = _stack([p.classes for p in parts if p.classes is not None], way)
    return Examples(
        tree_map(lambda *xs: _stack(xs, longest), parts[0].inputs, *[p.inputs for p in parts[1:]]),
        _stack([p.targets for p in parts], longest),
        mask,
        classes,
    )


def stack_tasks(tasks: Sequence[Task]) -> Task:
    """Stack tasks along a new leading axis, padding and masking where they differ in size.

    Args:
        tasks: at least one task; all with inputs of the same trailing shape, unless they are token ids (int64):
            those, and descriptions in token ids, are padded with zeros along every axis.

    Returns:
        A `Task` whose tensors start with the task axis ``[T, ...]`` and whose ``info`` is the list
        of the infos. Masks are ``None`` when no task needed padding.

    Raises:
        DataError: for an empty sequence.
    """
    if not tasks:
        raise DataError("cannot stack zero tasks")
    descriptions = [t.description for t in tasks]
    return Task(
        _stack_examples([t.support for t in tasks]),
        _stack_examples([t.query for t in tasks]),
        None if descriptions[0] is None else tree_map(lambda *xs: _stack(xs), *descriptions),
        [t.info for t in tasks],
    )


def unstack_tasks(batch: Task) -> list[Task]:
    """The tasks of a batch, one by one (masks are kept; padding is not removed)."""
    count = batch.support.targets.shape[0]
    infos = batch.info if isinstance(batch.info, list) else [None] * count
    tensors = batch.without_info()
    return [replace(tree_map(itemgetter(i), tensors), info=infos[i]) for i in range(count)]
