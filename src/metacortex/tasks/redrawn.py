"""Training images drawn anew: each as if by another hand and with another pen."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from metacortex.task import Examples, Task
from metacortex.tasks.changed import ChangedImages
from metacortex.tasks.function_source import uniforms
from metacortex.tasks.random import fold
from metacortex.tasks.warp import affine_grid

__all__ = ["Redrawn"]

# Largest turn (radians), shear, logarithm of the stretch along x and y, and shift (the image spans -1 to 1).
_HAND = np.array([0.20, 0.20, 0.15, 0.15, 0.10, 0.10])
_WAVES, _WAVE = 3, 0.05
"""Slow waves by which the paper is bent, and the largest shift of each."""
_THIN, _THICK = 0.5, 0.5
"""Largest share of the way to a stroke that is thinner, and thicker, by a pixel of a 28×28 image on each side."""

# Streams of random numbers within a task. Their numbers are part of what a task is: never renumber.
_SUPPORT, _QUERY = range(2)


class Redrawn(ChangedImages):
    """The tasks of a source with every image drawn by a hand and a pen of its own.

    Unlike `metacortex.tasks.warp.Warped`, which bends all images of a class alike (new classes), nothing
    is shared by two images: a learner is to see through it. That is what a task asks whose support and
    query come from different people. Task ``i`` stays a pure function of ``(seed, split, i)``.

    Args:
        source: tasks of images ``[N, C, H, W']``, floats in 0 to 1, 0 being the ground.
        amount: 0 leaves the images as they are; 1 turns by up to 11 degrees, shears by 0.2, stretches by 15 %,
            moves by 5 % of the side, bends along slow waves, and draws strokes thicker or thinner by up to half a
            pixel of a 28×28 image on each side.

    Raises:
        SettingsError: for an amount below 0.
    """

    setting = "redraw"
    done = "redrawn"
    mark = "redrawn "

    def changed(self, tasks: Task, keys: NDArray[np.uint64]) -> Task:
        """See `ChangedImages`."""
        support = self._drawn(tasks.support, fold(keys, _SUPPORT))
        return Task(support, self._drawn(tasks.query, fold(keys, _QUERY)), tasks.description, tasks.info)

    def _drawn(self, examples: Examples, keys: NDArray[np.uint64]) -> Examples:
        count = examples.targets.shape[1]
        if not count:
            return examples
        numbers = 2 * uniforms(fold(keys[:, None], np.arange(count)), 7 + 6 * _WAVES) - 1  # [T, N, 7 + 6 waves]
        flat = torch.from_numpy(numbers).flatten(0, 1)
        images = redraw(examples.inputs.flatten(0, 1), flat, self.amount)  # [T*N, C, H, W']
        return Examples(images.reshape(examples.inputs.shape), examples.targets, examples.mask, examples.classes)


def redraw(images: Tensor, numbers: Tensor, amount: float) -> Tensor:
    """Images ``[N, C, H, W']``, each drawn anew as its numbers say.

    Elementwise operations and windows alone: what an image becomes must not depend on its batch.

    Args:
        images: floats, 0 being the ground.
        numbers: ``[N, 7 + 6 waves]`` in -1 to 1: pen, hand (see `affine_grid`), then frequency, phase and shift of
            each wave along x and y.
        amount: by which hand, waves and pen are multiplied.
    """
    numbers = numbers.to(images.device)
    pen, hand = amount * numbers[:, 0], amount * numbers[:, 1:7] * torch.from_numpy(_HAND).to(images.device)
    numbers = numbers.to(images.dtype)
    grid = affine_grid(hand, images.shape[2], images.shape[3]).to(images.dtype)  # [N, H, W', 2]
    waves = numbers[:, 7:].reshape(len(images), _WAVES, 3, 2)[:, :, :, None, None, :]  # [N, waves, 3, 1, 1, 2]
    frequency, phase, height = waves[:, :, 0], waves[:, :, 1], waves[:, :, 2]
    shifts = [
        amount * _WAVE * height[:, k] * (math.pi * ((frequency[:, k] * grid).sum(-1, keepdim=True) + phase[:, k])).sin()
        for k in range(_WAVES)
    ]
    bent = F.grid_sample(images, grid + sum(shifts), align_corners=False)
    return _stroke(bent, pen.to(images.dtype)[:, None, None, None])


def _stroke(images: Tensor, pen: Tensor) -> Tensor:
    """Strokes thinner where ``pen`` ``[N, 1, 1, 1]`` is negative, thicker where it is positive."""
    reach = max(1, round(images.shape[-1] / 28))
    thicker = F.max_pool2d(images, 2 * reach + 1, 1, reach)
    thinner = -F.max_pool2d(-images, 2 * reach + 1, 1, reach)
    share = torch.where(pen > 0, _THICK * pen, -_THIN * pen).clamp(max=1)
    return images + share * (torch.where(pen > 0, thicker, thinner) - images)
