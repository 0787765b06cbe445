"""Layers whose parameters can be given from outside; without them they are bit for bit those of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmeta.modules.activation import MetaMultiheadAttention
from torchmeta.modules.batchnorm import MetaBatchNorm1d, MetaBatchNorm2d, MetaBatchNorm3d
from torchmeta.modules.container import MetaSequential
from torchmeta.modules.conv import MetaConv1d, MetaConv2d, MetaConv3d
from torchmeta.modules.linear import MetaBilinear, MetaLinear
from torchmeta.modules.module import MetaModule
from torchmeta.modules.normalization import MetaLayerNorm
from torchmeta.modules.parallel import DataParallel
from torchmeta.modules.sparse import MetaEmbedding, MetaEmbeddingBag
from torchmeta.modules.wrap import MetaWrap

__all__ = [
    "DataParallel",
    "MetaBatchNorm1d",
    "MetaBatchNorm2d",
    "MetaBatchNorm3d",
    "MetaBilinear",
    "MetaConv1d",
    "MetaConv2d",
    "MetaConv3d",
    "MetaEmbedding",
    "MetaEmbeddingBag",
    "MetaLSTM",
    "MetaLayerNorm",
    "MetaLinear",
    "MetaModule",
    "MetaMultiheadAttention",
    "MetaSequential",
    "MetaWrap",
]

if TYPE_CHECKING:
    from torchmeta.algos import MetaLSTM


def __getattr__(name: str) -> Any:
    """``MetaLSTM``, which brings its training with it and all that this needs: loaded when asked for."""
    if name == "MetaLSTM":
        from torchmeta.algos import MetaLSTM

        return MetaLSTM
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
