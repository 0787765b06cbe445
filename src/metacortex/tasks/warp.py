"""Training images bent at random: each class into a hand of its own, each example a little more."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from metacortex.task import Examples, Task
from metacortex.tasks.changed import ChangedImages
from metacortex.tasks.function_source import uniforms
from metacortex.tasks.random import fold

__all__ = ["Warped", "affine_grid"]

# Largest turn (radians), shear, logarithm of the stretch along x and y, and shift (the image spans -1 to 1).
_OF_CLASS = np.array([0.20, 0.15, 0.12, 0.12, 0.0, 0.0])
_OF_IMAGE = np.array([0.10, 0.08, 0.06, 0.06, 0.1, 0.1])

# Streams of random numbers within a task. Their numbers are part of what a task is: never renumber.
_CLASSES, _SUPPORT, _QUERY = range(3)


class Warped(ChangedImages):
    """The tasks of a source with their images turned, sheared, stretched and moved.

    Every class of a task is bent in a way of its own, support and query alike, so that the same
    classes are met in ever new hands; every image is bent a little more. Task ``i`` stays a pure
    function of ``(seed, split, i)``.

    Args:
        source: tasks of images ``[N, C, H, W']``, floats, 0 being the ground.
        amount: 0 leaves the images as they are; 1 turns a class by up to 11 degrees, shears it by
            0.15 and stretches it by 12 %, an image by about half of that, moved by up to 5 % of its side.

    Raises:
        SettingsError: for an amount below 0.
    """

    setting = "warp"
    done = "warped"
    mark = ""

    def changed(self, tasks: Task, keys: NDArray[np.uint64]) -> Task:
        """See `ChangedImages`."""
        slots = tasks.support.way
        hands = _spread(uniforms(fold(fold(keys, _CLASSES)[:, None], np.arange(slots)), 6), _OF_CLASS)  # [T, W, 6]
        support = self._bent(tasks.support, hands, fold(keys, _SUPPORT))
        query = self._bent(tasks.query, hands, fold(keys, _QUERY))
        return Task(support, query, tasks.description, tasks.info)

    def _bent(self, examples: Examples, hands: NDArray[np.float64], keys: NDArray[np.uint64]) -> Examples:
        tasks, count = examples.targets.shape
        if not count:
            return examples
        own = _spread(uniforms(fold(keys[:, None], np.arange(count)), 6), _OF_IMAGE)  # [T, N, 6]
        slots = examples.targets[:, :, None].expand(-1, -1, 6)
        hand = torch.from_numpy(hands).to(slots.device).gather(1, slots)  # [T, N, 6]
        numbers = self.amount * (torch.from_numpy(own).to(slots.device) + hand).reshape(tasks * count, 6)
        images = _bend(examples.inputs.flatten(0, 1), numbers)  # [T*N, C, H, W']
        return Examples(images.reshape(examples.inputs.shape), examples.targets, examples.mask, examples.classes)


def _spread(uniform: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    return (2 * uniform - 1) * largest


def _bend(images: Tensor, numbers: Tensor) -> Tensor:
    """Images ``[N, C, H, W']`` by the numbers of `affine_grid`."""
    grid = affine_grid(numbers, images.shape[2], images.shape[3])
    return F.grid_sample(images, grid.to(images.dtype), align_corners=False)


def affine_grid(numbers: Tensor, rows: int, columns: int) -> Tensor:
    """Where each pixel of a bent image looks, ``[N, H, W', 2]``; the image spans -1 to 1.

    Written out with elementwise operations: what an image becomes must not depend on its batch.

    Args:
        numbers: ``[N, 6]``: turn in radians, shear, logarithm of the stretch along x and y, shift along x and y.
        rows: H.
        columns: W'.
    """
    turn, shear, wide, high, right, down = (numbers[:, i, None, None] for i in range(6))  # each [N, 1, 1]
    here = {"dtype": numbers.dtype, "device": numbers.device}
    y = (torch.arange(rows, **here)[:, None] + 0.5) * 2 / rows - 1
    x = (torch.arange(columns, **here)[None, :] + 0.5) * 2 / columns - 1
    u = (turn.cos() * x + turn.sin() * y) * wide.exp()  # [N, H, W']
    v = (turn.cos() * y - turn.sin() * x) * high.exp()
    return torch.stack([u + shear * v + right, v + down], dim=-1)
