"""Functions drawn from Gaussian processes, with the exact posterior to measure learners against."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from metacortex.errors import unknown_name
from metacortex.tasks.function_source import Floats, FunctionTasks, Parameters, check_noise, check_range, spread

__all__ = ["KERNELS", "GaussianProcess", "GaussianProcessSettings"]

_JITTER = 1e-9
"""Added to the diagonal, relative to the variance: what double precision needs for some hundred close points."""

KERNELS: dict[str, Callable[[Floats], Floats]] = {
    "rbf": lambda r: np.exp(-0.5 * r * r),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 / 3 * r * r) * np.exp(-math.sqrt(5) * r),
}
"""Correlation of two values at distance r, in length scales, by name."""


@dataclass(frozen=True)
class GaussianProcessSettings:
    """Settings of `GaussianProcess`.

    Attributes:
        kernel: ``"rbf"``, ``"matern12"``, ``"matern32"`` or ``"matern52"``.
        length_scale: range of ℓ.
        scale: range of σ, the standard deviation of a value.
        domain: range of the inputs.
        noise: standard deviation of what is added to the targets.
    """

    kernel: Literal["rbf", "matern12", "matern32", "matern52"] = "rbf"
    length_scale: tuple[float, float] = (0.1, 0.6)
    scale: tuple[float, float] = (0.1, 1.0)
    domain: tuple[float, float] = (-2.0, 2.0)
    noise: float = 0.02

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise unknown_name("kernel", self.kernel, KERNELS)
        check_range("gp.length_scale", self.length_scale, above=0.0)
        check_range("gp.scale", self.scale, above=0.0)
        check_range("gp.domain", self.domain)
        check_noise("gp", self.noise)


class GaussianProcess(FunctionTasks):
    """f ∼ GP(0, σ² k(|x − x'| / ℓ)), y = f(x) + noise; ℓ, σ and x uniform.

    The defaults are those of the attentive neural processes' one-dimensional experiment.

    Args:
        settings: see `GaussianProcessSettings`.
        sizes: ``shot``, ``queries``, ``seed``, ``split``, see `FunctionTasks`.

    Example:
        >>> sorted(GaussianProcess(shot=5).task(0).info)
        ['index', 'length_scale', 'scale']

    Reference: Kim et al., "Attentive Neural Processes", 2019, §4.1; Rasmussen and Williams, "Gaussian
    Processes for Machine Learning", 2006, equations 2.22–2.24 and 4.14.
    """

    name: ClassVar[str] = "gp"
    parameter_count: ClassVar[int] = 2
    random_values: ClassVar[bool] = True

    def __init__(self, settings: GaussianProcessSettings | None = None, **sizes: Any) -> None:
        super().__init__(settings or GaussianProcessSettings(), **sizes)

    def parameters(self, uniform: Floats) -> Parameters:
        """``length_scale`` and ``scale``."""
        return {
            "length_scale": spread(uniform[:, 0], self.settings.length_scale),
            "scale": spread(uniform[:, 1], self.settings.scale),
        }

    def inputs(self, parameters: Parameters, uniform: Floats) -> Floats:
        """Uniform over the domain."""
        return spread(uniform, self.settings.domain)

    def values(self, parameters: Parameters, inputs: Floats, normal: Floats | None) -> Floats:
        """σ L z with L Lᵀ = k(X, X): appending inputs leaves the values before them as they are."""
        if normal is None:
            raise ValueError("values of a random process need random numbers")
        factor = np.linalg.cholesky(self._covariance(parameters, inputs, inputs) + _JITTER * np.eye(inputs.shape[1]))
        return parameters["scale"][:, None] * np.einsum("tij,tj->ti", factor, normal)

    def posterior(self, index: int, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What is best predicted from the support set of a task when its ℓ, σ and noise are known.

        Args:
            index: of the task.
            inputs: ``[M, 1]``.

        Returns:
            Mean and standard deviation ``[M, 1]`` of targets (noise included) at the inputs, of their dtype.
        """
        task = self.task(index)
        parameters = {name: np.array([task.info[name]]) for name in ("length_scale", "scale")}
        x, y = (part.double().numpy() for part in (task.support.inputs[None, :, 0], task.support.targets))
        new = inputs.detach().cpu().double().numpy().reshape(1, -1)
        # In units of σ.
        noise = (self.settings.noise / task.info["scale"]) ** 2
        known = self._covariance(parameters, x, x)[0] + (noise + _JITTER) * np.eye(x.shape[1])
        gain = np.linalg.solve(known, self._covariance(parameters, x, new)[0]).T  # [M, N]
        variance = 1 + noise - np.einsum("mn,nm->m", gain, self._covariance(parameters, x, new)[0])
        deviation = task.info["scale"] * np.sqrt(variance.clip(0))[:, None]
        return torch.from_numpy(gain @ y).to(inputs), torch.from_numpy(deviation).to(inputs)

    def _covariance(self, parameters: Parameters, a: Floats, b: Floats) -> Floats:
        """``[T, N, M]`` in units of σ²."""
        distance = np.abs(a[:, :, None] - b[:, None, :])
        return KERNELS[self.settings.kernel](distance / parameters["length_scale"][:, None, None])
