"""Data sets of classes and of tasks, and loaders of batches of tasks."""

from __future__ import annotations

from torchmeta.utils.data.dataloader import BatchMetaDataLoader, MetaDataLoader
from torchmeta.utils.data.dataset import ClassDataset, CombinationMetaDataset, MetaDataset
from torchmeta.utils.data.sampler import CombinationRandomSampler, CombinationSequentialSampler
from torchmeta.utils.data.task import ConcatTask, Dataset, SubsetTask, Task
from torchmeta.utils.data.wrappers import NonEpisodicWrapper

__all__ = [
    "BatchMetaDataLoader",
    "ClassDataset",
    "CombinationMetaDataset",
    "CombinationRandomSampler",
    "CombinationSequentialSampler",
    "ConcatTask",
    "Dataset",
    "MetaDataLoader",
    "MetaDataset",
    "NonEpisodicWrapper",
    "SubsetTask",
    "Task",
]
