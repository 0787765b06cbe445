"""Embeddings with parameters from outside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaEmbedding", "MetaEmbeddingBag"]


class MetaEmbedding(nn.Embedding, MetaModule):
    """`torch.nn.Embedding`; with ``params``, ``weight`` is taken from there."""

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Look up ``[...]`` numbers as ``[..., embedding_dim]``."""
        if params is None:
            return super().forward(input)
        return F.embedding(
            input,
            params["weight"],
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


class MetaEmbeddingBag(nn.EmbeddingBag, MetaModule):
    """`torch.nn.EmbeddingBag`; with ``params``, ``weight`` is taken from there."""

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
        params: Parameters | None = None,
    ) -> Tensor:
        """Look up bags of numbers and reduce each."""
        if params is None:
            return super().forward(input, offsets, per_sample_weights)
        return F.embedding_bag(
            input,
            params["weight"],
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )
