"""An LSTM as a backbone: reads a sequence, gives its last state."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.lstm import LSTM

__all__ = ["SequenceNet", "SequenceNetSettings", "as_sequence"]


@dataclass(frozen=True)
class SequenceNetSettings:
    """Settings of `SequenceNet`.

    Attributes:
        hidden: units, and length of the features.
        layers: number of layers.
    """

    hidden: int = 64
    layers: int = 1

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers) < 1:
            raise SettingsError(f"lstm: hidden and layers must be at least 1, got {self.hidden} and {self.layers}")


class SequenceNet(nn.Module):
    """The backbone ``lstm``: features are the last state of an LSTM over the input as a sequence.

    Args:
        input_shape: shape of one input, see `as_sequence`.
        settings: see `SequenceNetSettings`.

    Example:
        >>> SequenceNet((12, 3), SequenceNetSettings(hidden=5)).features
        5
    """

    def __init__(self, input_shape: tuple[int, ...], settings: SequenceNetSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or SequenceNetSettings()
        width = {1: lambda s: 1, 2: lambda s: s[1], 3: lambda s: s[0] * s[2]}.get(len(input_shape))
        if width is None:
            raise SettingsError(f"lstm: expected inputs of shape (D,), (L, D) or (C, H, W), got {tuple(input_shape)}")
        self.lstm = LSTM(width(input_shape), self.settings.hidden, self.settings.layers)
        self.features = self.settings.hidden

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, …]`` to ``[N, features]``."""
        _, last = self.lstm(as_sequence(inputs))
        return last[-1]


def as_sequence(inputs: Tensor) -> Tensor:
    """Inputs as sequences ``[N, L, D]``: numbers ``[N, D]`` one by one, images ``[N, C, H, W']`` row by row."""
    if inputs.dim() == 2:
        return inputs[..., None]
    if inputs.dim() == 4:
        return inputs.transpose(1, 2).flatten(2)  # [N, H, C * W']
    return inputs
