"""Batches of torchmeta's loaders as tasks of metacortex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metacortex.errors import DataError
from metacortex.task import Examples, Task

__all__ = ["is_batch", "supervised_task", "task_batch"]

_NAMES = (("train", "test"), ("support", "query"))
_HINT = (
    "split the tasks: dataset = ClassSplitter(dataset, num_train_per_class=1, num_test_per_class=15) before the "
    "loader is made"
)


def is_batch(value: Any) -> bool:
    """Whether something is one batch (and not a loader of batches)."""
    return isinstance(value, (Mapping, Task, list, tuple))


def task_batch(batch: Any, like: Tensor | None = None) -> Task:
    """A `Task` with a leading task axis.

    Args:
        batch: ``{"train": [inputs, targets], "test": …}`` or ``{"support": …, "query": …}`` with inputs
            ``[T, N, ...]`` and targets ``[T, N]`` (whole numbers) or ``[T, N, ...]`` (floats); or a `Task`.
        like: a parameter, whose device and floating type the tensors get.

    Raises:
        DataError: for a batch that was not split, or whose parts are no pairs of tensors.
    """
    if isinstance(batch, Task):
        return batch if like is None else batch.to(like.device).to(like.dtype)
    if not isinstance(batch, Mapping):
        raise DataError(f"this batch has no 'train': it is a {type(batch).__name__}; {_HINT}")
    first, second = next((names for names in _NAMES if names[0] in batch), _NAMES[0])
    for name in (first, second):
        if name not in batch:
            found = ", ".join(map(str, batch)) or "nothing"
            raise DataError(f"this batch has no '{name}', it has {found}; {_HINT}")
    parts = [_pair(batch[name], name, like) for name in (first, second)]
    classes = None
    if not parts[0][1].is_floating_point():
        way = 1 + max(int(targets.max()) for _, targets in parts)
        classes = torch.ones(len(parts[0][1]), way, dtype=torch.bool, device=parts[0][1].device)
    support, query = (Examples(inputs, targets, None, classes) for inputs, targets in parts)
    return Task(support, query)


def supervised_task(batch: Any, classes: int, like: Tensor | None = None) -> Task:
    """A plain batch ``[inputs, targets]`` of all training classes as one task without support, ``[1, ...]``.

    Raises:
        DataError: for a batch of tasks, or targets outside the classes.
    """
    if isinstance(batch, (Mapping, Task)):
        raise DataError(
            "this learner is pre-trained on plain batches [inputs, targets] of all classes: take them from "
            "torch.utils.data.DataLoader(NonEpisodicWrapper(dataset, target_transform=...)); tasks are for test and "
            "adapt"
        )
    inputs, targets = _pair(batch, "batch", like)
    if targets.is_floating_point() or not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise DataError(f"targets must be whole numbers in 0..{classes - 1} (train_classes), got {targets.dtype}")
    slots = torch.ones(1, classes, dtype=torch.bool, device=targets.device)
    nothing = Examples(inputs[None, :0], targets[None, :0], None, slots)
    return Task(nothing, Examples(inputs[None], targets[None], None, slots))


def _pair(value: Any, name: str, like: Tensor | None) -> tuple[Tensor, Tensor]:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(isinstance(v, Tensor) for v in value):
        raise DataError(
            f"'{name}' must be a pair of tensors [inputs, targets], got {type(value).__name__}: give the data set "
            "transform=ToTensor() and target_transform=Categorical(num_classes=...)"
        )
    inputs, targets = value
    if like is not None:
        inputs, targets = inputs.to(like.device), targets.to(like.device)
        inputs = inputs.to(like.dtype) if inputs.is_floating_point() else inputs
        targets = targets.to(like.dtype) if targets.is_floating_point() else targets
    if targets.is_floating_point() and targets.dim() == 2:
        targets = targets.unsqueeze(-1)  # [T, N] -> [T, N, 1]
    return inputs, targets
