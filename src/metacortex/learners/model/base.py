"""The model-based family: networks that read the support set and answer, without inner steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.entry import Kind
from metacortex.learners.features import check_norm
from metacortex.learners.metric.base import MetricLearner
from metacortex.learners.objective import CrossEntropy, GaussianLikelihood, MeanSquaredError, Objective, hide_padding
from metacortex.task import Examples

__all__ = ["Role", "SupportReader", "check_positive"]


@dataclass(frozen=True)
class Role:
    """What a `SupportReader` is to answer.

    Attributes:
        kind: ``"classification"`` or ``"regression"``.
        outputs: length of a regression's targets; the largest way, for classifiers with a fixed number of slots.
        objective: what a prediction is judged by; that of the kind when ``None``.
    """

    kind: Kind = "classification"
    outputs: int = 1
    objective: Objective | None = None


class SupportReader(MetricLearner):
    """A network that is given embedded support pairs (x_i, y_i) and an embedded query, and answers.

    All learning happens in meta-training; adapting to a task is one forward pass over its support set.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        norm: batch-norm policy.
        role: what is to be answered.
        uncertainty: of a regression, predict means and deviations (see `GaussianLikelihood`).
        min_deviation: smallest deviation that is predicted, in (0, 1).

    Raises:
        SettingsError: for values out of range.
    """

    train_tasks: ClassVar[int] = 16

    def __init__(
        self, model: nn.Module, norm: str, role: Role, *, uncertainty: bool = False, min_deviation: float = 0.1
    ) -> None:
        if role.kind not in ("classification", "regression"):
            raise SettingsError(f"learner '{self.name}' does classification and regression, got '{role.kind}'")
        if not 0 < min_deviation < 1:
            raise SettingsError(f"min_deviation must lie between 0 and 1, got {min_deviation}")
        check_norm(self.name, norm)
        super().__init__(model, norm)
        self.classifies = role.kind == "classification"
        self.outputs, self.min_deviation = role.outputs, min_deviation
        self.uncertain = uncertainty and not self.classifies
        if self.uncertain:
            self.objective = GaussianLikelihood()
        else:
            self.objective = role.objective or (CrossEntropy() if self.classifies else MeanSquaredError())

    @property
    def numbers(self) -> int:
        """How many numbers a head with a fixed number of outputs gives for a query."""
        return 2 * self.outputs if self.uncertain else self.outputs

    def answer(self, raw: Tensor, classes: Tensor | None) -> Tensor:
        """The prediction from the output of such a head ``[N, numbers]``.

        The deviation of a regression is s₀ + (1 − s₀) softplus(raw), so that its likelihood is bounded.

        Returns:
            Logits ``[N, way]``, values ``[N, outputs]``, or means and log variances ``[N, 2·outputs]``.
        """
        if classes is not None:
            return hide_padding(raw[..., : classes.shape[-1]], classes)
        if not self.uncertain:
            return raw
        mean, free = raw.chunk(2, -1)
        deviation = self.min_deviation + (1 - self.min_deviation) * F.softplus(free)
        return torch.cat([mean, 2 * deviation.log()], -1)

    def check_way(self, support: Examples) -> None:
        """Refuse a task with more classes than there are slots.

        Raises:
            LearnerError: naming both.
        """
        if support.classes is not None and support.way > self.outputs:
            raise LearnerError(
                f"'{self.name}' was built for at most {self.outputs} classes, the task has {support.way}: "
                "train with a larger way, or use a learner for any number of classes (protonet, cnp)"
            )


def check_positive(learner: str, **sizes: int) -> None:
    """Refuse sizes below one.

    Raises:
        SettingsError: naming the first.
    """
    for name, value in sizes.items():
        if value < 1:
            raise SettingsError(f"{learner}: {name} must be at least 1, got {value}")
