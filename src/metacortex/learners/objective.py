"""What a prediction is judged by: loss and metrics of labelled examples."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.task import Examples

__all__ = ["CrossEntropy", "GaussianLikelihood", "MeanSquaredError", "Objective", "full_precision", "hide_padding"]


class Objective(Protocol):
    """Loss and metrics of predictions on labelled examples; masked rows do not count."""

    score: str
    """Name of the metric by which models are chosen."""
    higher_is_better: bool

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean loss, a scalar."""
        ...

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Scalars by name, without gradient."""
        ...


def full_precision(prediction: Tensor) -> Tensor:
    """A prediction in at least single precision: exponentials and sums of 8 significant bits are no loss."""
    return prediction.float() if prediction.dtype in (torch.bfloat16, torch.float16) else prediction


def hide_padding(logits: Tensor, classes: Tensor | None) -> Tensor:
    """Logits ``[N, way]`` with those of padding slots set to the lowest finite number."""
    if classes is None:
        return logits
    return logits.masked_fill(~classes, torch.finfo(logits.dtype).min / 2)


class CrossEntropy:
    """Classification: −log p(target), mean over the real rows."""

    score = "accuracy"
    higher_is_better = True

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy of logits ``[N, way]``."""
        prediction = full_precision(prediction)
        if examples.mask is None:
            return F.cross_entropy(prediction, examples.targets)
        losses = F.cross_entropy(prediction, examples.targets, reduction="none")
        return (losses * examples.weights().to(losses.dtype)).sum()

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``accuracy`` in 0–1."""
        prediction = full_precision(prediction.detach())
        right = (prediction.argmax(-1) == examples.targets).to(prediction.dtype)
        if examples.mask is None:
            return {"accuracy": right.mean()}
        return {"accuracy": (right * examples.mask).sum() / examples.mask.sum().clamp_min(1)}


class MeanSquaredError:
    """Regression: squared error, mean over the real rows and all outputs."""

    score = "mse"
    higher_is_better = False

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean squared error of predictions ``[N, ...]``."""
        errors = ((full_precision(prediction) - examples.targets) ** 2).flatten(1).mean(1)
        return (errors * examples.weights().to(errors.dtype)).sum()

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``mse``."""
        return {"mse": self.loss(prediction.detach(), examples)}


class GaussianLikelihood:
    """Regression with uncertainty: −log N(y; μ, σ²), mean over the real rows and all outputs.

        ½ (log 2π + log σ² + (y − μ)² / σ²)

    A prediction is ``[N, 2·outputs]``: first the means μ, then log σ². Learners are compared by the squared
    error of the means, which those without uncertainty have too.

    Example:
        >>> prediction = torch.tensor([[1.0, math.log(4.0)]])
        >>> mean, deviation = GaussianLikelihood.split(prediction)
        >>> float(mean), float(deviation)
        (1.0, 2.0)
    """

    score = "mse"
    higher_is_better = False
    per_output = 2
    """Numbers that predict one output."""

    @staticmethod
    def split(prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``[..., outputs]``, of predictions ``[..., 2·outputs]``."""
        mean, log_variance = prediction.chunk(2, -1)
        return mean, (0.5 * log_variance).exp()

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean negative log likelihood."""
        mean, log_variance = full_precision(prediction).chunk(2, -1)
        errors = (examples.targets - mean) ** 2 * (-log_variance).exp()
        losses = 0.5 * (math.log(2 * math.pi) + log_variance + errors).flatten(1).mean(1)
        return (losses * examples.weights().to(losses.dtype)).sum()

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``mse`` of the means, and ``nll``, the loss."""
        mean, _ = self.split(prediction.detach())
        return {**MeanSquaredError().metrics(mean, examples), "nll": self.loss(prediction.detach(), examples)}


class TokenCrossEntropy:
    """Translation: cross-entropy of the target tokens, mean over all real ones of the task.

        (1 − ε) (−log p(y_t)) + ε mean_v (−log p(v))

    Args:
        smoothing: ε, 0–1 with 1 excluded; it is left out of the metrics.
        padding: token id that does not count.

    Raises:
        SettingsError: for a smoothing out of range.

    Reference: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
    """

    score = "nll"
    higher_is_better = False

    def __init__(self, smoothing: float = 0.1, padding: int = 0) -> None:
        if not 0 <= smoothing < 1:
            raise SettingsError(f"smoothing must lie in 0..1, 1 excluded, got {smoothing}")
        self.smoothing, self.padding = smoothing, padding

    def real(self, examples: Examples) -> Tensor:
        """``[N, L']`` bool, True where a target token counts."""
        real = examples.targets != self.padding
        return real if examples.mask is None else real & examples.mask[:, None]

    def token_losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Smoothed and plain −log p of targets ``[...]`` under logits ``[..., V]``."""
        log_p = full_precision(logits).log_softmax(-1)
        plain = -log_p.gather(-1, targets[..., None])[..., 0]
        smoothed = plain if not self.smoothing else torch.lerp(plain, -log_p.mean(-1), self.smoothing)
        return smoothed, plain

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Smoothed cross-entropy per token of logits ``[N, L', V]``."""
        return _mean(self.token_losses(prediction, examples.targets)[0], self.real(examples))

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``nll``: −log p per token without smoothing. ``token_accuracy``: share of tokens guessed, 0–1."""
        prediction, real = prediction.detach(), self.real(examples)
        plain = self.token_losses(prediction, examples.targets)[1]
        right = (prediction.argmax(-1) == examples.targets).to(plain.dtype)
        return {"nll": _mean(plain, real), "token_accuracy": _mean(right, real)}


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """Mean of ``values`` where ``real``; zero where nothing is."""
    weights = real.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp_min(1)
