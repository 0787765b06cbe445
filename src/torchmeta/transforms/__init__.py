"""Transforms of inputs, of targets and of tasks."""

from __future__ import annotations

from torchmeta.transforms.augmentations import HorizontalFlip, Rotation, VerticalFlip
from torchmeta.transforms.categorical import Categorical, FixedCategory
from torchmeta.transforms.splitters import ClassSplitter, ClassSplitter_, Splitter
from torchmeta.transforms.target_transforms import (
    DefaultTargetTransform,
    SegmentationPairTransform,
    TargetTransform,
)
from torchmeta.transforms.vision import CenterCrop, Compose, NumpyToTorch, Resize, ToTensor
from torchmeta.transforms.weighted import WeightedClassSplitter, WeightedClassSplitter_

__all__ = [
    "Categorical",
    "CenterCrop",
    "ClassSplitter",
    "ClassSplitter_",
    "Compose",
    "DefaultTargetTransform",
    "FixedCategory",
    "HorizontalFlip",
    "NumpyToTorch",
    "Resize",
    "Rotation",
    "SegmentationPairTransform",
    "Splitter",
    "TargetTransform",
    "ToTensor",
    "VerticalFlip",
    "WeightedClassSplitter",
    "WeightedClassSplitter_",
]
