"""Transforms inside transforms, and splitters before and after their data set is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["apply_wrapper", "compose", "seed_transform", "wrap_transform"]


def wrap_transform(transform: Any, fn: Callable[[Any], Any], transform_type: type | None = None) -> Any:
    """Replace transforms of a type by what a function makes of them, also inside ``Compose``.

    Args:
        transform: a transform, or an object with a list ``transforms``.
        fn: from a transform to a transform.
        transform_type: which are replaced; all when not given.

    Returns:
        A transform of the same make; nothing is changed in place.
    """
    if transform_type is None or isinstance(transform, transform_type):
        return fn(transform)
    parts = getattr(transform, "transforms", None)
    if isinstance(parts, (list, tuple)):
        return type(transform)([wrap_transform(part, fn, transform_type) for part in parts])
    return transform


def seed_transform(transform: Any, seed: int | None) -> None:
    """Seed a transform, and all inside a ``Compose``, where they can be seeded."""
    parts = getattr(transform, "transforms", None)
    for part in parts if isinstance(parts, (list, tuple)) else [transform]:
        if hasattr(part, "seed"):
            part.seed(seed)


def compose(first: Any, second: Any) -> Any:
    """One transform after another; ``first`` may be None."""
    from torchmeta.utils.data.task import Chain

    return second if first is None else Chain([first, second])


def apply_wrapper(wrapper: Callable[[Any], Any], task_or_dataset: Any = None) -> Any:
    """Use a transform of tasks at once or later.

    Args:
        wrapper: from a task to what is made of it.
        task_or_dataset: nothing: the wrapper is returned. A task: what the wrapper makes of it. A MetaDataset: its
            ``dataset_transform`` is set, after the one it has, and the data set returned.

    Raises:
        TypeError: for anything else.
    """
    from torchmeta.utils.data.dataset import MetaDataset
    from torchmeta.utils.data.task import Task

    if task_or_dataset is None:
        return wrapper
    if isinstance(task_or_dataset, Task):
        return wrapper(task_or_dataset)
    if isinstance(task_or_dataset, MetaDataset):
        task_or_dataset.dataset_transform = compose(task_or_dataset.dataset_transform, wrapper)
        return task_or_dataset
    raise TypeError(f"expected a Task or a MetaDataset, got {type(task_or_dataset).__name__}")
