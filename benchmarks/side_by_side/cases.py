"""The cases, and their tasks: noise of the right shapes, drawn from a fixed seed."""

from __future__ import annotations

import math
from functools import partial

import torch

from benchmarks.side_by_side.case import Batch, Case
from benchmarks.side_by_side.networks import (
    conv4,
    lstm,
    own_conv4,
    own_lstm,
    own_resnet12,
    perceptron,
    resnet12,
    transformer,
)

__all__ = ["CASES", "image_batch", "sequence_batch", "sinusoid_batch"]


def sinusoid_batch(tasks: int = 25, shot: int = 10) -> Batch:
    """Waves of amplitude 0.1 to 5 and phase 0 to π on -5 to 5."""
    g = torch.Generator().manual_seed(1)
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=g)
    phase = math.pi * torch.rand(tasks, 1, 1, generator=g)
    x = 10 * torch.rand(tasks, 2 * shot, 1, generator=g) - 5
    y = amplitude * torch.sin(x - phase)
    return Batch(x[:, :shot], y[:, :shot], x[:, shot:], y[:, shot:])


def image_batch(tasks: int, channels: int, size: int, shot: int, queries: int, way: int = 5) -> Batch:
    """Images of noise around a picture per class."""
    g = torch.Generator().manual_seed(1)
    centre = torch.rand(tasks, way, 1, channels, size, size, generator=g)
    noise = torch.rand(tasks, way, shot + queries, channels, size, size, generator=g)
    x = 0.5 * (centre + noise)  # [T, W, M, C, H, W']
    y = torch.arange(way)[None, :, None].expand(tasks, way, shot + queries)
    return Batch(
        x[:, :, :shot].flatten(1, 2), y[:, :, :shot].flatten(1), x[:, :, shot:].flatten(1, 2), y[:, :, shot:].flatten(1)
    )


def sequence_batch(tasks: int, length: int = 16, width: int = 8, shot: int = 1, queries: int = 5) -> Batch:
    """Sequences ``[T, N, L, D]`` of five classes, likewise."""
    b = image_batch(tasks, 1, length, shot, queries)
    return Batch(b.support[:, :, 0, :, :width], b.support_targets, b.query[:, :, 0, :, :width], b.query_targets)


def _images(name: str, tasks: int = 16, **options: object) -> Case:
    network, own, batch = partial(conv4, 1, 28), partial(own_conv4, 1, 28), partial(image_batch, tasks, 1, 28, 1, 15)
    return Case(name, network, batch, own=own, **options)  # type: ignore[arg-type]


_NARROW = (4, 4, 8, 8)

CASES = (
    Case(
        "sinusoid K=1", perceptron, sinusoid_batch, inner_lr=0.01, goal=30, quick=True,
        compiled=("compile-vmap",),
    ),
    Case(
        "sinusoid K=5", perceptron, sinusoid_batch, inner_lr=0.01, steps=5, goal=15,
        compiled=("compile-vmap",),
    ),
    _images("Conv4 28x28 K=1 order 2", goal=1.5, quick=True, compiled=("compile",)),
    _images("Conv4 28x28 K=1 order 1", order=1),
    _images("Conv4 28x28 K=5 order 2", steps=5, goal=1.5),
    _images("Conv4 28x28 K=5 order 1", steps=5, order=1),
    _images("Conv4 28x28 32 tasks K=1 order 2", tasks=32, goal=1.5, many=True),
    _images("Conv4 28x28 32 tasks K=5 order 2", tasks=32, steps=5, goal=1.5, many=True),
    Case(
        "Conv4 84x84 5-shot K=1 order 2", partial(conv4, 3, 84, 32), partial(image_batch, 2, 3, 84, 5, 15),
        own=partial(own_conv4, 3, 84, 32), checked=partial(conv4, 3, 84, 4), many=True,
    ),
    _images("ANIL Conv4 K=5", learner="anil", steps=5, goal=2),
    _images("ProtoNet Conv4", learner="protonet", steps=0, goal=2, quick=True),
    _images("R2D2 Conv4", learner="r2d2", steps=0, goal=2),
    Case(
        "ResNet-12 84x84 K=1 order 1", resnet12, partial(image_batch, 2, 3, 84, 1, 3), order=1, own=own_resnet12,
        checked=partial(resnet12, _NARROW), many=True,
    ),
    Case("transformer K=1 order 2", transformer, partial(sequence_batch, 16)),
    Case("LSTM K=1 order 2", lstm, partial(sequence_batch, 16), own=own_lstm),
)  # fmt: skip
