"""Sums of two sine waves, each task seen in a place of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchmeta.toy.tasks import FunctionTask, ToyDataset

__all__ = ["Harmonic", "HarmonicTask"]


class Harmonic(ToyDataset):
    """y = a₁ sin(ωx + b₁) + a₂ sin(2ωx + b₂), ω ∼ U[5, 7], b ∼ U[0, 2π], a ∼ N(0, 1), x ∼ N(μ, 1), μ ∼ U[−4, 4].

    Reference: Lacoste et al., "Uncertainty in Multitask Transfer Learning", 2018, §4.
    """

    def __init__(
        self,
        num_samples_per_task: int,
        num_tasks: int = 5000,
        noise_std: float | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(num_samples_per_task, num_tasks, noise_std, transform, target_transform, dataset_transform)

    def draw_parameters(self, random: np.random.RandomState, count: int) -> dict[str, np.ndarray]:
        """Places, frequencies, phases, amplitudes."""
        return {
            "domain": random.uniform(-4.0, 4.0, size=count),
            "frequency": random.uniform(5.0, 7.0, size=count),
            "phases": random.uniform(0.0, 2 * np.pi, size=(count, 2)),
            "amplitudes": random.randn(count, 2),
        }

    def make_task(self, index: int, parameters: dict[str, Any], random: np.random.RandomState) -> HarmonicTask:
        """One sum of waves."""
        return HarmonicTask(
            index,
            parameters["domain"],
            parameters["frequency"],
            parameters["phases"],
            parameters["amplitudes"],
            self.noise_std,
            self.num_samples_per_task,
            self.transform,
            self.target_transform,
            random,
        )


class HarmonicTask(FunctionTask):
    """One sum of two waves."""

    def __init__(
        self,
        index: int,
        domain: float,
        frequency: float,
        phases: Any,
        amplitudes: Any,
        noise_std: float | None,
        num_samples: int,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        np_random: np.random.RandomState | None = None,
    ) -> None:
        random = np_random or np.random.RandomState(None)
        inputs = domain + random.randn(num_samples, 1)
        first = amplitudes[0] * np.sin(frequency * inputs + phases[0])
        second = amplitudes[1] * np.sin(2.0 * frequency * inputs + phases[1])
        super().__init__(index, inputs, first + second, noise_std, transform, target_transform, random)
        self.domain, self.frequency, self.phases, self.amplitudes = domain, frequency, phases, amplitudes
        self.noise_std, self.num_samples = noise_std, num_samples
