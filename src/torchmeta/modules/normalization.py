"""Layer normalisation with parameters from outside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaLayerNorm"]


class MetaLayerNorm(nn.LayerNorm, MetaModule):
    """`torch.nn.LayerNorm`; with ``params``, ``weight`` and ``bias`` are taken from there."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Normalise the trailing axes."""
        if params is None:
            return super().forward(input)
        return F.layer_norm(input, list(self.normalized_shape), params.get("weight"), params.get("bias"), self.eps)
