"""Toy data, split and seeded in one call."""

from __future__ import annotations

import warnings
from typing import Any

from torchmeta.toy.harmonic import Harmonic
from torchmeta.toy.sinusoid import Sinusoid
from torchmeta.transforms.splitters import ClassSplitter

__all__ = ["harmonic", "sinusoid"]


def sinusoid(
    shots: int, shuffle: bool = True, test_shots: int | None = None, seed: int | None = None, **kwargs: Any
) -> Sinusoid:
    """`Sinusoid`, split into train and test.

    Args:
        shots: training examples of a task.
        shuffle: split at random.
        test_shots: test examples of a task; as many as ``shots`` when not given.
        seed: of the data and of the order within splits.
        kwargs: of `Sinusoid`; ``num_samples_per_task`` overrides ``shots + test_shots``, with a warning.
    """
    return _helper(Sinusoid, shots, shuffle, test_shots, seed, kwargs)


def harmonic(
    shots: int, shuffle: bool = True, test_shots: int | None = None, seed: int | None = None, **kwargs: Any
) -> Harmonic:
    """`Harmonic`, split into train and test; arguments as of `sinusoid`."""
    return _helper(Harmonic, shots, shuffle, test_shots, seed, kwargs)


def _helper(
    kind: Any, shots: int, shuffle: bool, test_shots: int | None, seed: int | None, options: dict[str, Any]
) -> Any:
    test_shots = shots if test_shots is None else test_shots
    if "num_samples_per_task" in options:
        warnings.warn(
            f"num_samples_per_task={options['num_samples_per_task']} is used instead of shots + test_shots = "
            f"{shots + test_shots}",
            stacklevel=3,
        )
    dataset = kind(num_samples_per_task=options.pop("num_samples_per_task", shots + test_shots), **options)
    dataset = ClassSplitter(dataset, shuffle=shuffle, num_train_per_class=shots, num_test_per_class=test_shots)
    dataset.seed(seed)
    return dataset
