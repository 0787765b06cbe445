"""Linear and bilinear layers with parameters from outside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaBilinear", "MetaLinear"]


class MetaLinear(nn.Linear, MetaModule):
    """`torch.nn.Linear`; with ``params``, its ``weight`` and ``bias`` (none there: no bias) are taken from there."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        if params is None:
            return super().forward(input)
        return F.linear(input, params["weight"], params.get("bias"))


class MetaBilinear(nn.Bilinear, MetaModule):
    """`torch.nn.Bilinear` with parameters from outside."""

    def forward(self, input1: Tensor, input2: Tensor, params: Parameters | None = None) -> Tensor:
        """Map ``[..., in1_features]`` and ``[..., in2_features]`` to ``[..., out_features]``."""
        if params is None:
            return super().forward(input1, input2)
        return F.bilinear(input1, input2, params["weight"], params.get("bias"))
