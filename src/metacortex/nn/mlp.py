"""A multi-layer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError, unknown_name
from metacortex.nn.norm import BatchNorm

__all__ = ["MLP", "MLPSettings", "dense"]


@dataclass(frozen=True)
class MLPSettings:
    """Settings of `MLP`.

    Attributes:
        hidden: width of each hidden layer.
        norm: ``"batch"`` after each hidden layer, or ``"none"``.
        init: ``"uniform"`` within ±1/√inputs (PyTorch's); ``"he"``: normal of deviation √(2/inputs); or
            ``"small"``: normal of deviation 0.01, cut off at two deviations (MAML's published code);
            biases are zero in the last two.
    """

    hidden: tuple[int, ...] = (256, 128, 64, 64)
    norm: Literal["batch", "none"] = "none"
    init: Literal["uniform", "he", "small"] = "uniform"

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise SettingsError(f"mlp: hidden widths must be at least 1, got {self.hidden}")
        if self.norm not in ("batch", "none"):
            raise SettingsError(f"mlp: norm must be 'batch' or 'none', got '{self.norm}'")
        if self.init not in ("uniform", "he", "small"):
            raise unknown_name("value for mlp.init", self.init, ("uniform", "he", "small"))


class MLP(nn.Module):
    """Linear layers with ReLU between them; features are the last hidden activations.

    Args:
        input_shape: shape of one input; it is flattened.
        settings: see `MLPSettings`. The default is the fully connected net of MAML's Omniglot rows; that of
            its sinusoids has ``hidden=(40, 40)``.

    Example:
        >>> MLP((1, 28, 28)).features
        64
    """

    def __init__(self, input_shape: tuple[int, ...], settings: MLPSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or MLPSettings()
        width = math.prod(input_shape)
        layers: list[nn.Module] = []
        for hidden in self.settings.hidden:
            layers.append(_linear(width, hidden, self.settings.init))
            if self.settings.norm == "batch":
                layers.append(BatchNorm(hidden))
            layers.append(nn.ReLU())
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.features = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, ...]`` to ``[N, features]``."""
        return self.layers(torch.flatten(inputs, 1))


def _linear(inputs: int, outputs: int, init: str) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    if init != "uniform":
        nn.init.zeros_(layer.bias)
    if init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if init == "small":
        nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
    return layer


def dense(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, on the last axis: ``[..., widths[0]]`` to ``[..., widths[-1]]``."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
