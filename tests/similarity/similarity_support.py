"""Families of tasks with known kinships."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metacortex.similarity.probe import Probe
from metacortex.task import Examples


def task(inputs: Tensor, targets: Tensor) -> Examples:
    way = int(targets.max()) + 1
    return Examples(inputs, targets, classes=torch.ones(way, dtype=torch.bool))


def cloud(seed: int, way: int = 4, shot: int = 6, size: int = 5, shift: float = 0.0) -> Examples:
    """Gaussian classes."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(way, size, generator=generator)
    noise = torch.randn(way, shot, size, generator=generator)
    inputs = (means[:, None] + 0.3 * noise + shift).reshape(-1, size)
    return task(inputs, torch.arange(way).repeat_interleave(shot))


def stripes(family: int, seed: int, way: int = 5, shot: int = 6, side: int = 12) -> Examples:
    """Images of two strokes, along the rows (family 0) or the columns (family 1); classes differ in the places."""
    generator = torch.Generator().manual_seed(1000 * family + seed)
    images = torch.zeros(way, shot, 1, side, side)
    for slot in range(way):
        places = torch.randperm(side - 2, generator=generator)[:2] + 1
        for example in range(shot):
            start = int(torch.randint(0, 3, (), generator=generator))
            for place in places.tolist():
                images[slot, example, 0, place, start : start + side - 3] = 1.0
    images = images + 0.05 * torch.rand(images.shape, generator=generator)
    if family:
        images = images.mT
    return task(images.flatten(0, 1).contiguous(), torch.arange(way).repeat_interleave(shot))


def small_probe(seed: int = 0) -> Probe:
    """A convolutional network that sees strokes along the rows and along the columns; no batch norm."""
    along_rows = torch.tensor([[-1.0, -1.0, -1.0], [2.0, 2.0, 2.0], [-1.0, -1.0, -1.0]]) / 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten()
    with torch.no_grad():
        layers[0].weight[:4] = along_rows + 0.1 * layers[0].weight[:4]
        layers[0].weight[4:] = along_rows.T + 0.1 * layers[0].weight[4:]
    return Probe(nn.Sequential(*layers).eval())
