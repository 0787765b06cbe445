"""The budget of a run and the learning rate over it: pure functions of step or time spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metacortex.settings import TrainingSettings

__all__ = ["Budget", "learning_rate"]


@dataclass(frozen=True)
class Budget:
    """How long a run lasts: a number of steps, or seconds of training.

    Attributes:
        steps: number of meta-steps, 0 for a budget in time.
        seconds: seconds of training, 0 for a budget in steps.
    """

    steps: int
    seconds: float

    @staticmethod
    def of(settings: TrainingSettings) -> Budget:
        """The budget that the settings ask for."""
        return Budget(settings.steps, settings.minutes * 60.0)

    def fraction(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        spent = step / self.steps if self.steps else seconds / self.seconds
        return min(max(spent, 0.0), 1.0)

    def spent(self, step: int, seconds: float) -> bool:
        """Whether the run is at its end."""
        return self.fraction(step, seconds) >= 1.0

    def seconds_left(self, step: int, seconds: float) -> float | None:
        """Expected seconds to the end at the pace so far; ``None`` before the first step."""
        if not self.steps:
            return max(self.seconds - seconds, 0.0)
        return None if step == 0 else seconds / step * (self.steps - step)


def learning_rate(settings: TrainingSettings, step: int, fraction: float, peak: float | None = None) -> float:
    """Learning rate of a step.

    ``lr · min(1, (step+1)/warmup_steps) · (1 + cos(π · fraction))/2`` with the cosine schedule, without
    the last factor with the constant one.

    Args:
        settings: the training settings.
        step: number of the step, from 0.
        fraction: share of the budget spent before it.
        peak: learning rate instead of that of the settings.
    """
    rate = settings.lr if peak is None else peak
    if settings.warmup_steps:
        rate *= min(1.0, (step + 1) / settings.warmup_steps)
    if settings.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * fraction))
    return rate
