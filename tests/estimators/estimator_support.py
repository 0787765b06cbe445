"""Drawings to learn from, and a network that has learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metacortex.estimators.source import FAR, ModelSource
from metacortex.learners.registry import make_learner

__all__ = ["blobs", "drawings", "untrained"]


def untrained(channels: int = 8) -> ModelSource:
    """A small ProtoNet with random weights on framed drawings."""
    description: dict[str, Any] = {
        "name": "protonet",
        "options": {},
        "backbone": "conv4",
        "backbone_options": {"channels": channels, "reduction": "stride"},
        "input_shape": [1, 28, 28],
        "way": 5,
        "train_classes": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = make_learner("protonet", backbone_options=description["backbone_options"]).eval()
    return ModelSource(
        learner, description, True, "dark", (1, 28, 28), 0.2, FAR, True, "untrained", {"data": "nothing"}
    )


def drawings(count: int, seed: int = 0, size: int = 20, high: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Bars that lie, stand, or form a cross: ``[3 * count, size, size]`` floats in 0..high, and their names."""
    rng = np.random.default_rng(seed)
    images, names = [], []
    for name in ("cross", "lying", "standing"):
        for _ in range(count):
            image = np.zeros((size, size))
            y, x = rng.integers(size // 3, size - size // 3, 2)
            width = int(rng.integers(1, 3))
            if name != "standing":
                image[y : y + width, 2 : size - 2] = 1
            if name != "lying":
                image[2 : size - 2, x : x + width] = 1
            images.append(image * high)
            names.append(name)
    return np.stack(images), np.array(names)


def blobs(
    count: int, way: int = 3, columns: int = 4, seed: int = 0, apart: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Normal clouds around random middles: ``[way * count, columns]`` and names."""
    rng = np.random.default_rng(seed)
    middles = apart * np.random.default_rng(99).standard_normal((way, columns))
    X = np.concatenate([m + rng.standard_normal((count, columns)) for m in middles])
    return X, np.repeat([f"class {c}" for c in range(way)], count)
