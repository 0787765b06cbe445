"""Which pixels of a query an answer rests on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.errors import MissingExtraError
from metacortex.explain.scores import log_odds
from metacortex.nn.mode import evaluating
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.learners.base import Learner, State

__all__ = ["integrate", "integrated_gradients", "support_gradients"]


def integrated_gradients(
    learner: Learner, state: State, inputs: Tensor, classes: Tensor, *, ground: float = 0.0, steps: int = 16
) -> Tensor:
    """What each pixel of a query adds to the log-odds of an answer, on the way from an empty image to the query.

        A_j(x) = (x_j − x'_j) ∫_0^1 ∂ f_c(x' + t (x − x')) / ∂x_j dt,   f_c = log p(c) / (1 − p(c))

    The attributions of an image sum to f_c(x) − f_c(x'), up to the steps of the integral. (Log-odds and not
    log-probabilities: these hardly change any more where the learner is nearly certain, and so would their gradient.)

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

    def score(images: Tensor, answers: Tensor) -> Tensor:
        return log_odds(learner.predict(state, images)).gather(1, answers[:, None])[:, 0]

    with evaluating(learner):
        return integrate(score, inputs, classes, ground=ground, steps=steps)


def integrate(
    score: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    answers: Tensor,
    *,
    ground: Tensor | float = 0.0,
    steps: int = 16,
) -> Tensor:
    """Integrated gradients of any score, on the way from ``ground`` to each input.

    Args:
        score: of ``[M, ...]`` inputs and the ``[M]`` answers to them, ``[M]``.
        inputs: ``[Q, ...]`` floats.
        answers: ``[Q]`` int64, handed on to the score.
        ground: where the way begins: a number, or ``[1, ...]``.
        steps: of the integral.

    Returns:
        Of the inputs' shape; those of an input sum to its score minus that of the ground, up to the steps.

    Raises:
        MissingExtraError: if captum is not installed.
    """
    method, parts = _captum()(score), []
    # One input at a time: no statistic of the batch may make one explain another.
    for one, answer in zip(inputs.split(1), answers.split(1), strict=True):
        found = method.attribute(
            one, baselines=ground, additional_forward_args=(answer,), n_steps=steps, internal_batch_size=steps
        )
        parts.append(found.detach().to(inputs.dtype))
    return torch.cat(parts)


def support_gradients(
    learner: Learner,
    support: Examples,
    inputs: Any,
    classes: Tensor,
    *,
    description: Any = None,
    ground: float = 0.0,
    steps: int = 8,
) -> Tensor:
    """What each pixel of the support set adds to the log-odds of an answer, through the adaptation.

        A_j(s) = (s_j − s'_j) ∫_0^1 ∂ f_c(q; adapt(s' + t (s − s'))) / ∂s_j dt

    The gradient passes what the learner does with the support set: prototypes, attention, linear systems, or every
    step of the inner loop, whose derivative is then of the second order. It is zero for learners that let none
    through (nearest neighbours, first-order gradients).

    Args:
        learner: for classification.
        support: ``[N]`` examples with float inputs ``[N, ...]``.
        inputs: ``[Q, ...]`` queries.
        classes: ``[Q]`` int64, the answer that is explained for each.
        description: see `metacortex.learners.base.Learner.adapt`.
        ground: value of the empty images s'.
        steps: of the integral.

    Returns:
        ``[Q, N, ...]``. They sum over the support set to f_c of the adapted learner minus that of one adapted to
        empty images, up to the steps of the integral; where the inner loop takes gradients of a network of ReLUs,
        these jump, and the sum is a rough one.

    Raises:
        MissingExtraError: if captum is not installed.

    Reference: Sundararajan, Taly and Yan, 2017, equation 1, of the support set instead of the query.
    """
    method_of = _captum()
    shape = support.inputs.shape

    def score(sets: Tensor, query: Any, answer: int) -> Tensor:
        each = [replace(support, inputs=one.reshape(shape)) for one in sets]
        made = [learner.adapt(one, description=description) for one in each]
        odds = torch.stack([log_odds(learner.predict(state, query))[0, answer] for state in made])
        return odds + 0.0 * sets.sum()  # a learner that passes no gradient has one of zero

    method = method_of(score)
    whole = support.inputs[None]
    with evaluating(learner):
        found = [
            method.attribute(
                whole,
                baselines=ground,
                additional_forward_args=(inputs[q : q + 1], int(classes[q])),
                n_steps=steps,
                internal_batch_size=1,
            )[0].detach()
            for q in range(len(classes))
        ]
    return torch.stack(found).to(support.inputs.dtype)


def _captum() -> Any:
    if importlib.util.find_spec("captum") is None:
        raise MissingExtraError("which pixels mattered", "explain")
    from captum.attr import IntegratedGradients

    return IntegratedGradients
