"""Answers averaged over several views of the same images, turned and moved a little."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Learner, State
from metacortex.task import Examples
from metacortex.tasks.warp import affine_grid

__all__ = ["ManyViews"]

_LARGEST = (0.12, 0.12, 0.08, 0.08, 0.07, 0.07)
"""Largest turn (radians), shear, logarithm of the stretch along x and y, and shift (an image spans -1 to 1)."""


class ManyViews(Learner):
    """p(y | x) = 1/V Σ_v p_v(y | x): the learner adapts to each view of the support set, and answers one of the query.

    The first view is the images as they are; in the others support and queries are bent, each in a way of its own, so
    that a drawing is met in the pose of the other one in some of them. The views are the same for every task, the work
    is V times that of the learner.

    Args:
        learner: a classifier of images ``[N, C, H, W']``, 0 being the ground.
        views: V, at least 1.

    Raises:
        SettingsError: for no view.
        LearnerError: at the first task, if its inputs are no images.
    """

    def __init__(self, learner: Learner, views: int) -> None:
        super().__init__()
        if views < 1:
            raise SettingsError(f"views must be at least 1, got {views}")
        self.learner, self.views = learner, views
        self.objective = learner.objective
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            bends = (2 * torch.rand(views, 2, 6, dtype=torch.float64) - 1) * torch.tensor(_LARGEST)
        self.register_buffer("bends", bends, persistent=False)  # [V, support and query, 6]; the first is not used

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """The states of all views, by their numbers."""
        return {
            str(v): self.learner.adapt(
                replace(support, inputs=self.view(support.inputs, v, 0)), description=description, generator=generator
            )
            for v in range(self.views)
        }

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logarithms of the mean probabilities ``[N, way]``."""
        answers = [
            self.learner.predict(state[str(v)], self.view(inputs, v, 1)).log_softmax(-1) for v in range(self.views)
        ]
        return torch.stack(answers).logsumexp(0) - math.log(len(answers))

    def view(self, images: Any, number: int, side: int) -> Tensor:
        """A view of images.

        Args:
            images: ``[N, C, H, W']``.
            number: of the view; 0: as they are.
            side: 0 for the support, 1 for the query.

        Raises:
            LearnerError: for other inputs.
        """
        if not isinstance(images, Tensor) or images.dim() != 4:
            raise LearnerError("views are of images [N, C, H, W]; these inputs are none: evaluate without views")
        if number == 0:
            return images
        bends = self.bends
        assert isinstance(bends, Tensor)
        grid = affine_grid(bends[number, side][None], images.shape[2], images.shape[3]).to(images.dtype)
        return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)
