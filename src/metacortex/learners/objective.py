"""What a prediction is judged by: loss and metrics of labelled examples."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.task import Examples

__all__ = ["CrossEntropy", "MeanSquaredError", "Objective", "hide_padding"]


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
        if examples.mask is None:
            return F.cross_entropy(prediction, examples.targets)
        losses = F.cross_entropy(prediction, examples.targets, reduction="none")
        return (losses * examples.weights().to(losses.dtype)).sum()

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``accuracy`` in 0–1."""
        right = (prediction.detach().argmax(-1) == examples.targets).to(prediction.dtype)
        if examples.mask is None:
            return {"accuracy": right.mean()}
        return {"accuracy": (right * examples.mask).sum() / examples.mask.sum().clamp_min(1)}


class MeanSquaredError:
    """Regression: squared error, mean over the real rows and all outputs."""

    score = "mse"
    higher_is_better = False

    def loss(self, prediction: Tensor, examples: Examples) -> Tensor:
        """Mean squared error of predictions ``[N, ...]``."""
        errors = ((prediction - examples.targets) ** 2).flatten(1).mean(1)
        return (errors * examples.weights().to(errors.dtype)).sum()

    def metrics(self, prediction: Tensor, examples: Examples) -> dict[str, Tensor]:
        """``mse``."""
        return {"mse": self.loss(prediction.detach(), examples)}
