"""What toy data sets have in common: functions of one variable, seen at random places."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from torchmeta.utils.data.dataset import MetaDataset
from torchmeta.utils.data.sampler import SeededInt
from torchmeta.utils.data.task import Task

__all__ = ["FunctionTask", "ToyDataset"]


class FunctionTask(Task):
    """A function, seen at ``num_samples`` places: items are pairs of float64 arrays ``[1]``.

    Attributes:
        index: number of the task.
        inputs: ``[num_samples, 1]``.
        targets: ``[num_samples, 1]``, the function there, with noise where asked for.
    """

    def __init__(
        self,
        index: int,
        inputs: np.ndarray,
        targets: np.ndarray,
        noise_std: float | None,
        transform: Callable[[Any], Any] | None,
        target_transform: Callable[[Any], Any] | None,
        np_random: np.random.RandomState,
    ) -> None:
        super().__init__(index, None, transform, target_transform)
        self.inputs, self.targets = inputs, targets
        if noise_std:
            self.targets = targets + noise_std * np_random.randn(*targets.shape)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        value, target = self.inputs[index], self.targets[index]
        if self.transform is not None:
            value = self.transform(value)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return value, target


class ToyDataset(MetaDataset):
    """Regression tasks that are made up.

    The parameters of all tasks are drawn from ``np_random`` at the first access, the inputs at every visit. In worker
    processes the inputs follow from the worker's own seed, so that workers and epochs differ. With a loader's
    ``seed`` everything of a task follows from its number.

    Args:
        num_samples_per_task: examples of a task.
        num_tasks: how many tasks there are.
        noise_std: standard deviation of noise on the targets.
        transform: applied to inputs.
        target_transform: applied to targets.
        dataset_transform: applied to each task, e.g. a splitter.
    """

    def __init__(
        self,
        num_samples_per_task: int,
        num_tasks: int = 1000000,
        noise_std: float | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(meta_split="train", target_transform=target_transform, dataset_transform=dataset_transform)
        self.num_samples_per_task, self.num_tasks = num_samples_per_task, num_tasks
        self.noise_std, self.transform = noise_std, transform
        self._parameters: dict[str, np.ndarray] | None = None
        self._reseeded = False

    @abstractmethod
    def draw_parameters(self, random: np.random.RandomState, count: int) -> dict[str, np.ndarray]:
        """The parameters of ``count`` tasks, by name."""

    @abstractmethod
    def make_task(self, index: int, parameters: dict[str, Any], random: np.random.RandomState) -> Task:
        """A task with these parameters."""

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters of all tasks, drawn when first asked for."""
        if self._parameters is None:
            self._parameters = self.draw_parameters(self.np_random, self.num_tasks)
        return self._parameters

    def __len__(self) -> int:
        return self.num_tasks

    def __getitem__(self, index: int) -> Any:
        if not -self.num_tasks <= index < self.num_tasks:
            raise IndexError(f"task {index} is outside the {self.num_tasks} there are")
        if isinstance(index, SeededInt):
            random = np.random.RandomState(index.seed % 2**32)
            values, place = self.draw_parameters(random, 1), 0
        else:
            values, place, random = self.parameters, index, self._random()
        task = self.make_task(int(index), {name: value[place] for name, value in values.items()}, random)
        if isinstance(index, SeededInt):
            task.native_seed = index.seed  # type: ignore[attr-defined]
        return task if self.dataset_transform is None else self.dataset_transform(task)

    def _random(self) -> np.random.RandomState:
        worker = get_worker_info()
        if worker is not None and not self._reseeded:
            self.np_random, self._reseeded = np.random.RandomState(worker.seed % 2**32), True
        return self.np_random
