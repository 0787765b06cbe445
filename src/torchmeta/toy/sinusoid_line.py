"""Sine waves and straight lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchmeta.toy.sinusoid import SinusoidTask
from torchmeta.toy.tasks import FunctionTask, ToyDataset

__all__ = ["LinearTask", "SinusoidAndLine"]


class SinusoidAndLine(ToyDataset):
    """Half of the tasks are sine waves as in `Sinusoid`, half lines y = a x + b with a, b ∼ U[−3, 3].

    Reference: Finn, Xu and Levine, "Probabilistic Model-Agnostic Meta-Learning", 2018, §6.1.
    """

    @property
    def input_range(self) -> np.ndarray:
        """Where inputs lie."""
        return np.array([-5.0, 5.0])

    def draw_parameters(self, random: np.random.RandomState, count: int) -> dict[str, np.ndarray]:
        """Which it is, then amplitudes, phases, slopes, intercepts."""
        return {
            "is_sinusoid": random.binomial(1, 0.5, size=count).astype(bool),
            "amplitude": random.uniform(0.1, 5.0, size=count),
            "phase": random.uniform(0.0, np.pi, size=count),
            "slope": random.uniform(-3.0, 3.0, size=count),
            "intercept": random.uniform(-3.0, 3.0, size=count),
        }

    def make_task(self, index: int, parameters: dict[str, Any], random: np.random.RandomState) -> FunctionTask:
        """A wave or a line."""
        p = parameters
        common = (
            self.input_range,
            self.noise_std,
            self.num_samples_per_task,
            self.transform,
            self.target_transform,
            random,
        )
        if p["is_sinusoid"]:
            return SinusoidTask(index, p["amplitude"], p["phase"], *common)
        return LinearTask(index, p["slope"], p["intercept"], *common)


class LinearTask(FunctionTask):
    """One line: ``slope * x + intercept``."""

    def __init__(
        self,
        index: int,
        slope: float,
        intercept: float,
        input_range: Any,
        noise_std: float | None,
        num_samples: int,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        np_random: np.random.RandomState | None = None,
    ) -> None:
        random = np_random or np.random.RandomState(None)
        inputs = random.uniform(input_range[0], input_range[1], size=(num_samples, 1))
        super().__init__(index, inputs, slope * inputs + intercept, noise_std, transform, target_transform, random)
        self.slope, self.intercept, self.input_range = slope, intercept, input_range
        self.noise_std, self.num_samples = noise_std, num_samples
