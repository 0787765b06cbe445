"""Which pixels of a query an answer rests on."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metacortex.errors import MissingExtraError
from metacortex.nn.mode import evaluating

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["integrated_gradients"]


def integrated_gradients(
    learner: Learner, state: State, inputs: Tensor, classes: Tensor, *, ground: float = 0.0, steps: int = 16
) -> Tensor:
    """What each pixel adds to the log-probability of an answer, on the way from an empty image to the query.

        A_j(x) = (x_j − x'_j) ∫_0^1 ∂ log p(c | x' + t (x − x')) / ∂x_j dt

    The attributions of an image sum to log p(c | x) − log p(c | x'), up to the steps of the integral.

    Args:
        learner: for classification.
        state: what adaptation left.
        inputs: ``[Q, C, H, W']`` floats.
        classes: ``[Q]`` int64, the answer that is explained for each.
        ground: value of the pixels of the empty image x'.
        steps: of the integral.

    Returns:
        ``[Q, C, H, W']``.

    Raises:
        MissingExtraError: if captum is not installed.

    Reference: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", 2017, equation 1;
    computed by captum.
    """
    if importlib.util.find_spec("captum") is None:
        raise MissingExtraError("which pixels mattered", "explain")
    from captum.attr import IntegratedGradients

    def score(images: Tensor, answers: Tensor) -> Tensor:
        return learner.predict(state, images).log_softmax(-1).gather(1, answers[:, None])[:, 0]

    method = IntegratedGradients(score)
    parts = []
    with evaluating(learner):
        # One image at a time: no statistic of the batch may make one image explain another.
        for image, answer in zip(inputs.split(1), classes.split(1), strict=True):
            found = method.attribute(
                image, baselines=ground, additional_forward_args=(answer,), n_steps=steps, internal_batch_size=steps
            )
            parts.append(found.detach().to(inputs.dtype))
    return torch.cat(parts)
