"""The cases, and their networks and tasks: noise of the right shapes, drawn from a fixed seed."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.side_by_side.case import Batch, Case
from metacortex.nn.classifier import Classifier

__all__ = ["CASES", "image_batch", "sinusoid_batch"]


class _Perceptron(nn.Sequential):
    features = 40

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())


class _Conv4(nn.Module):
    """Four blocks of stock layers, as any user would write them: pooling before the ReLU, channels-last weights."""

    def __init__(self, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if i == 0 else width, width, 3, padding=1, bias=False) for i in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, track_running_stats=False) for _ in range(4))
        self.features = width * (size >> 4) ** 2
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(F.max_pool2d(norm(convolution(x)), 2))
        return x.flatten(1)


def _with_head(backbone: nn.Module, outputs: int) -> nn.Module:
    model = Classifier(backbone, outputs)
    model.head.reset_parameters()  # a head of zeros would hide the second derivatives of the body
    return model


def perceptron() -> nn.Module:
    """1-40-40-1."""
    torch.manual_seed(0)
    return _with_head(_Perceptron(), 1)


def conv4(channels: int, size: int, width: int = 64) -> nn.Module:
    """Conv4 with a head for five classes."""
    torch.manual_seed(0)
    return _with_head(_Conv4(channels, size, width), 5)


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


def _images(name: str, tasks: int = 16, **options: object) -> Case:
    return Case(name, partial(conv4, 1, 28), partial(image_batch, tasks, 1, 28, 1, 15), **options)  # type: ignore[arg-type]


CASES = (
    Case("sinusoid K=1", perceptron, sinusoid_batch, inner_lr=0.01, goal=30, quick=True, small=True),
    Case("sinusoid K=5", perceptron, sinusoid_batch, inner_lr=0.01, steps=5, goal=15, quick=True, small=True),
    _images("Conv4 28x28 K=1 order 2", goal=1.5, quick=True),
    _images("Conv4 28x28 K=1 order 1", order=1),
    _images("Conv4 28x28 K=5 order 2", steps=5, goal=1.5),
    _images("Conv4 28x28 K=5 order 1", steps=5, order=1),
    _images("Conv4 28x28 32 tasks K=1 order 2", tasks=32, goal=1.5),
    _images("Conv4 28x28 32 tasks K=5 order 2", tasks=32, steps=5, goal=1.5),
    Case("Conv4 84x84 5-shot K=1 order 2", partial(conv4, 3, 84, 32), partial(image_batch, 4, 3, 84, 5, 15)),
    _images("ANIL Conv4 K=5", learner="anil", steps=5, goal=2, quick=True),
    _images("ProtoNet Conv4", learner="protonet", steps=0, goal=2, quick=True),
)
