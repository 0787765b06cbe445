"""What `fit` leaves behind: something that scores prepared inputs, and knows how sure it may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.errors import LearnerError
from metacortex.estimators.features import Features
from metacortex.estimators.heads import Head, candidates, choose_head, fit_temperature
from metacortex.estimators.novelty import Novelty, learn_novelty
from metacortex.learners.base import Learner, Predictor
from metacortex.task import Examples

__all__ = ["Adapted", "HeadAdapted", "LearnerAdapted", "adapt_head", "adapt_learner", "as_tensor"]

Array = NDArray[np.float64]
Targets = NDArray[np.int64]
_FOLDS = 4
"""Times a learner adapts on a part of the examples to calibrate its probabilities."""
_BATCH = 256


class Adapted(ABC):
    """An adapted classifier.

    Attributes:
        temperature: logits are divided by it.
        novelty: how far is too far.
    """

    temperature: float
    novelty: Novelty

    @abstractmethod
    def scores(self, inputs: np.ndarray) -> Array:
        """Logits ``[N, way]`` before the temperature."""

    @abstractmethod
    def embed(self, inputs: np.ndarray) -> Array:
        """Features ``[N, D]`` in which alike inputs are near."""

    def logits(self, inputs: np.ndarray) -> Array:
        """Calibrated logits ``[N, way]``."""
        return self.scores(inputs) / self.temperature


@dataclass(frozen=True, eq=False)
class HeadAdapted(Adapted):
    """A closed-form head on features."""

    features: Features
    head: Head
    temperature: float
    novelty: Novelty

    def scores(self, inputs: np.ndarray) -> Array:
        """Logits ``[N, way]`` before the temperature."""
        return self.head.scores(self.features(inputs))

    def embed(self, inputs: np.ndarray) -> Array:
        """``[N, D]``."""
        return self.features(inputs)


@dataclass(frozen=True, eq=False)
class LearnerAdapted(Adapted):
    """A learner that adapted in its own way."""

    predictor: Predictor
    temperature: float
    novelty: Novelty

    def scores(self, inputs: np.ndarray) -> Array:
        """Logits ``[N, way]`` before the temperature."""
        return _in_parts(self.predictor, inputs)

    def embed(self, inputs: np.ndarray) -> Array:
        """``[N, D]``."""
        return _in_parts(self.predictor.embed, inputs)


def adapt_head(
    features: Features, head: str, inputs: np.ndarray, targets: Targets, way: int, temperature: float, far: float
) -> HeadAdapted:
    """Choose and fit a head.

    Args:
        features: of the inputs.
        head: one of `metacortex.estimators.heads.HEADS`.
        inputs: prepared support inputs ``[N, ...]``.
        targets: ``[N]`` class slots.
        way: number of classes.
        temperature: where the examples cannot tell it.
        far: novelty threshold where the examples cannot tell it.
    """
    views = features.views(inputs)
    specs = candidates(head, views.shape[0] * views.shape[1])
    chosen, fitted, _ = choose_head(specs, views, targets, way, temperature)
    return HeadAdapted(features, chosen, fitted, learn_novelty(views[0], targets, way, far))


def adapt_learner(
    learner: Learner, inputs: np.ndarray, targets: Targets, way: int, seed: int, temperature: float, far: float
) -> LearnerAdapted:
    """Let a learner adapt; arguments as of `adapt_head`.

    Where classes have two examples or more, the learner also adapts on parts of the support set, and the
    temperature is fitted on what it says of the rest.

    Raises:
        LearnerError: if the learner cannot serve so many classes.
    """
    predictor = bind(learner, inputs, _labels(targets, way), seed)
    held_out = np.full((len(targets), way), np.nan)
    for fold in folds(targets, _FOLDS, np.random.default_rng(seed)):
        rest = ~fold
        part = bind(learner, inputs[rest], _labels(targets[rest], way), seed)
        held_out[fold] = _in_parts(part, inputs[fold])
    known = ~np.isnan(held_out).any(1)
    if known.any():
        temperature, _ = fit_temperature(held_out[known], targets[known])
    embedded = _in_parts(predictor.embed, inputs)
    return LearnerAdapted(predictor, temperature, learn_novelty(embedded, targets, way, far))


def folds(targets: Targets, count: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Parts to hold out, each with about the same share of every class.

    At least one example of each class stays outside of every part; an only example is in none.

    Returns:
        Up to `count` masks ``[N]``, none of them empty, no two overlapping.
    """
    place = np.full(len(targets), -1)
    for slot in np.unique(targets):
        rows = rng.permutation(np.flatnonzero(targets == slot))
        if len(rows) > 1:
            # Dealt from another part on for each class, so that small classes do not all fall into the first.
            place[rows] = (np.arange(len(rows)) + rng.integers(count)) % count
    return [place == part for part in range(count) if (place == part).any()]


def bind(learner: Learner, inputs: np.ndarray, support: Callable[[Tensor], Examples], seed: int) -> Predictor:
    """The learner adapted on a support set, its own randomness a function of the seed."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return learner.bind(learner.adapt(support(as_tensor(inputs))))
    except LearnerError as error:
        raise LearnerError(f"this learner cannot learn these examples: {error}") from error


def as_tensor(inputs: np.ndarray) -> Tensor:
    """Prepared inputs as a learner takes them: float32, images in 0–1."""
    tensor = torch.from_numpy(np.ascontiguousarray(inputs))
    return tensor.to(torch.float32) / 255.0 if inputs.dtype == np.uint8 else tensor.to(torch.float32)


def _labels(targets: Targets, way: int) -> Callable[[Tensor], Examples]:
    return lambda x: Examples(x, torch.from_numpy(targets), classes=torch.ones(way, dtype=torch.bool))


def _in_parts(call: Callable[[Tensor], Tensor], inputs: np.ndarray) -> Array:
    starts = range(0, len(inputs), _BATCH)
    return np.concatenate([call(as_tensor(inputs[s : s + _BATCH])).double().numpy() for s in starts])
