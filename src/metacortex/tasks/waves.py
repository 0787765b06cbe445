"""Sinusoids and sums of two of them: the toy regression tasks of the few-shot literature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri

from metacortex.errors import SettingsError
from metacortex.tasks.function_source import Floats, FunctionTasks, Parameters, check_noise, check_range, spread

__all__ = ["Harmonic", "HarmonicSettings", "Sinusoid", "SinusoidSettings"]


@dataclass(frozen=True)
class SinusoidSettings:
    """Settings of `Sinusoid`.

    Attributes:
        amplitude: range of A.
        phase: range of φ.
        frequency: range of ω, which MAML's tasks do not vary.
        domain: range of the inputs.
        noise: standard deviation of what is added to the targets.
    """

    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    frequency: tuple[float, float] = (1.0, 1.0)
    domain: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "phase", "frequency", "domain"):
            check_range(f"sinusoid.{name}", getattr(self, name))
        check_noise("sinusoid", self.noise)


class Sinusoid(FunctionTasks):
    """y = A sin(ω x − φ), A, φ and x uniform, ω = 1.

    Args:
        settings: see `SinusoidSettings`.
        sizes: ``shot``, ``queries``, ``seed``, ``split``, see `FunctionTasks`.

    Example:
        >>> task = Sinusoid(shot=5).task(0)
        >>> task.support.inputs.shape, sorted(task.info)
        (torch.Size([5, 1]), ['amplitude', 'frequency', 'index', 'phase'])

    Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
    Networks", 2017, §5.1.
    """

    name: ClassVar[str] = "sinusoid"
    parameter_count: ClassVar[int] = 3

    def __init__(self, settings: SinusoidSettings | None = None, **sizes: Any) -> None:
        super().__init__(settings or SinusoidSettings(), **sizes)

    def parameters(self, uniform: Floats) -> Parameters:
        """``amplitude``, ``phase`` and ``frequency``."""
        names = ("amplitude", "phase", "frequency")
        return {name: spread(uniform[:, i], getattr(self.settings, name)) for i, name in enumerate(names)}

    def inputs(self, parameters: Parameters, uniform: Floats) -> Floats:
        """Uniform over the domain."""
        return spread(uniform, self.settings.domain)

    def values(self, parameters: Parameters, inputs: Floats, normal: Floats | None = None) -> Floats:
        """A sin(ω x − φ)."""
        amplitude, phase, frequency = (parameters[name][:, None] for name in ("amplitude", "phase", "frequency"))
        return amplitude * np.sin(frequency * inputs - phase)


@dataclass(frozen=True)
class HarmonicSettings:
    """Settings of `Harmonic`.

    Attributes:
        center: range of μ, around which a task's inputs lie.
        spread: standard deviation of the inputs.
        frequency: range of ω.
        noise: standard deviation of what is added to the targets.
    """

    center: tuple[float, float] = (-4.0, 4.0)
    spread: float = 1.0
    frequency: tuple[float, float] = (5.0, 7.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("center", "frequency"):
            check_range(f"harmonic.{name}", getattr(self, name))
        if not 0 < self.spread < math.inf:
            raise SettingsError(f"harmonic.spread: expected a positive number, got {self.spread}")
        check_noise("harmonic", self.noise)


class Harmonic(FunctionTasks):
    """y = a₁ sin(ω x + b₁) + a₂ sin(2ω x + b₂).

    ω is uniform, a ∼ N(0, 1), b uniform over a turn, x ∼ N(μ, 1) with μ uniform.

    Args:
        settings: see `HarmonicSettings`.
        sizes: ``shot``, ``queries``, ``seed``, ``split``, see `FunctionTasks`.

    Reference: Lacoste et al., "Uncertainty in Multitask Transfer Learning", 2018, §5.1.
    """

    name: ClassVar[str] = "harmonic"
    parameter_count: ClassVar[int] = 6

    def __init__(self, settings: HarmonicSettings | None = None, **sizes: Any) -> None:
        super().__init__(settings or HarmonicSettings(), **sizes)

    def parameters(self, uniform: Floats) -> Parameters:
        """``center``, ``frequency``, ``amplitude1``, ``amplitude2``, ``phase1`` and ``phase2``."""
        turn = (0.0, 2 * math.pi)
        return {
            "center": spread(uniform[:, 0], self.settings.center),
            "frequency": spread(uniform[:, 1], self.settings.frequency),
            "amplitude1": ndtri(uniform[:, 2]),
            "amplitude2": ndtri(uniform[:, 3]),
            "phase1": spread(uniform[:, 4], turn),
            "phase2": spread(uniform[:, 5], turn),
        }

    def inputs(self, parameters: Parameters, uniform: Floats) -> Floats:
        """Normal around the task's center."""
        return parameters["center"][:, None] + self.settings.spread * ndtri(uniform)

    def values(self, parameters: Parameters, inputs: Floats, normal: Floats | None = None) -> Floats:
        """The sum of the two waves."""
        p = {name: value[:, None] for name, value in parameters.items()}
        angle = p["frequency"] * inputs
        return p["amplitude1"] * np.sin(angle + p["phase1"]) + p["amplitude2"] * np.sin(2 * angle + p["phase2"])
