"""Convolutions with parameters from outside."""

from __future__ import annotations

from torch import Tensor, nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaConv1d", "MetaConv2d", "MetaConv3d"]


class MetaConv1d(nn.Conv1d, MetaModule):
    """`torch.nn.Conv1d`; with ``params``, its ``weight`` and ``bias`` (none there: no bias) are taken from there."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Convolve ``[N, C, L]``."""
        if params is None:
            return super().forward(input)
        return self._conv_forward(input, params["weight"], params.get("bias"))


class MetaConv2d(nn.Conv2d, MetaModule):
    """`torch.nn.Conv2d` with parameters from outside."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Convolve ``[N, C, H, W]``."""
        if params is None:
            return super().forward(input)
        return self._conv_forward(input, params["weight"], params.get("bias"))


class MetaConv3d(nn.Conv3d, MetaModule):
    """`torch.nn.Conv3d` with parameters from outside."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Convolve ``[N, C, D, H, W]``."""
        if params is None:
            return super().forward(input)
        return self._conv_forward(input, params["weight"], params.get("bias"))
