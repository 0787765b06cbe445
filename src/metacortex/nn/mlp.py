"""A multi-layer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.norm import BatchNorm

__all__ = ["MLP", "MLPSettings"]


@dataclass(frozen=True)
class MLPSettings:
    """Settings of `MLP`.

    Attributes:
        hidden: width of each hidden layer.
        norm: ``"batch"`` after each hidden layer, or ``"none"``.
    """

    hidden: tuple[int, ...] = (256, 128, 64, 64)
    norm: str = "none"

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise SettingsError(f"mlp: hidden widths must be at least 1, got {self.hidden}")
        if self.norm not in ("batch", "none"):
            raise SettingsError(f"mlp: norm must be 'batch' or 'none', got '{self.norm}'")


class MLP(nn.Module):
    """Linear layers with ReLU between them; features are the last hidden activations.

    Args:
        input_shape: shape of one input; it is flattened.
        settings: see `MLPSettings`. The default is the fully connected net of MAML's Omniglot rows.

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
            layers.append(nn.Linear(width, hidden))
            if self.settings.norm == "batch":
                layers.append(BatchNorm(hidden))
            layers.append(nn.ReLU())
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.features = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, ...]`` to ``[N, features]``."""
        return self.layers(torch.flatten(inputs, 1))
