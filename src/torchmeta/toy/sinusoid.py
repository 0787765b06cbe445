"""Sine waves of random amplitude and phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchmeta.toy.tasks import FunctionTask, ToyDataset

__all__ = ["Sinusoid", "SinusoidTask"]


class Sinusoid(ToyDataset):
    """y = A sin(x − b), A ∼ U[0.1, 5], b ∼ U[0, π], x ∼ U[−5, 5]; float64.

    Example:
        >>> data = Sinusoid(num_samples_per_task=4, num_tasks=10)
        >>> data.seed(1)
        >>> x, y = data[0][3]
        >>> x.shape, y.dtype
        ((1,), dtype('float64'))

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", 2017, §5.1.
    """

    @property
    def input_range(self) -> np.ndarray:
        """Where inputs lie."""
        return np.array([-5.0, 5.0])

    def draw_parameters(self, random: np.random.RandomState, count: int) -> dict[str, np.ndarray]:
        """Amplitudes, then phases."""
        return {"amplitude": random.uniform(0.1, 5.0, size=count), "phase": random.uniform(0.0, np.pi, size=count)}

    @property
    def amplitudes(self) -> np.ndarray:
        """Of all tasks."""
        return self.parameters["amplitude"]

    @property
    def phases(self) -> np.ndarray:
        """Of all tasks."""
        return self.parameters["phase"]

    def make_task(self, index: int, parameters: dict[str, Any], random: np.random.RandomState) -> SinusoidTask:
        """One wave."""
        return SinusoidTask(
            index,
            parameters["amplitude"],
            parameters["phase"],
            self.input_range,
            self.noise_std,
            self.num_samples_per_task,
            self.transform,
            self.target_transform,
            random,
        )


class SinusoidTask(FunctionTask):
    """One wave: ``amplitude * sin(x - phase)``."""

    def __init__(
        self,
        index: int,
        amplitude: float,
        phase: float,
        input_range: Any,
        noise_std: float | None,
        num_samples: int,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        np_random: np.random.RandomState | None = None,
    ) -> None:
        random = np_random or np.random.RandomState(None)
        inputs = random.uniform(input_range[0], input_range[1], size=(num_samples, 1))
        targets = amplitude * np.sin(inputs - phase)
        super().__init__(index, inputs, targets, noise_std, transform, target_transform, random)
        self.amplitude, self.phase, self.input_range = amplitude, phase, input_range
        self.noise_std, self.num_samples = noise_std, num_samples
