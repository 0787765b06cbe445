"""What becomes of tasks that a program does not split itself.

torchmeta's loader gave batches of unsplit tasks for such a program, whose labels were texts. Here it gets train and
test sets of ``shots`` and ``test_shots`` examples per class, numbers as labels, images as tensors, and an epoch of
``tasks_per_epoch`` tasks (800; `len` of the loader is 800 / batch_size, rounded up). A program with a splitter
or labels of its own gets what torchmeta gave it: an endless loader.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from metacortex.errors import SettingsError
from torchmeta.transforms.categorical import Categorical
from torchmeta.transforms.splitters import ClassSplitter_

__all__ = ["TaskDefaults"]


@dataclass(frozen=True)
class TaskDefaults:
    """The default way of splitting.

    Attributes:
        shots: training examples per class.
        test_shots: test examples per class.
        tasks_per_epoch: tasks in an epoch of a loader.
        labelled: whether the data set brings transforms of targets of its own.
    """

    shots: int = 1
    test_shots: int = 15
    tasks_per_epoch: int = 800
    labelled: bool = False

    def __post_init__(self) -> None:
        for name in ("shots", "test_shots", "tasks_per_epoch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise SettingsError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")

    def apply_to(self, dataset: Any) -> bool:
        """Whether a data set still has no splitter."""
        return dataset.dataset_transform is None

    def reads_at_once(self, dataset: Any) -> bool:
        """Whether batches of a prepared data set are one index gather."""
        return dataset.dataset.reader is not None

    def prepared(self, dataset: Any) -> Any:
        """A copy of a data set of tasks with what is missing."""
        made, classes = copy.copy(dataset), dataset.dataset
        if classes.transform is None and classes.default_transform is not None:
            made.dataset = copy.copy(classes)
            made.dataset.transform = classes.default_transform
        if not self.labelled:
            made.target_transform = Categorical(dataset.num_classes_per_task)
        made.dataset_transform = ClassSplitter_(num_train_per_class=self.shots, num_test_per_class=self.test_shots)
        return made
