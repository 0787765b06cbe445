"""Attention written out in matrix products and a softmax.

PyTorch's fused kernels cannot be differentiated twice, and under ``vmap`` they depend on the backend; the sets
that are attended to here have tens of members, for which they would gain nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.mlp import dense
from metacortex.nn.norm import LayerNorm

__all__ = ["MultiHeadAttention", "TransformerBlock", "attend", "masked_softmax"]


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the last axis, over the places that a mask allows.

    Args:
        scores: ``[..., N]``.
        mask: bool, broadcast against the scores, False where nothing may go; ``None``: everywhere.

    Returns:
        Weights of the broadcast shape that sum to one, or are all zero where the mask allows no place.
    """
    if mask is None:
        return scores.softmax(-1)
    # The lowest finite number: −∞ would make rows without any place NaN.
    hidden = torch.where(mask, scores, torch.finfo(scores.dtype).min / 2)
    return hidden.softmax(-1) * mask.to(scores.dtype)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention, softmax(Q Kᵀ / √d + B) V.

    Args:
        queries: Q, ``[..., M, d]``.
        keys: K, ``[..., N, d]``.
        values: V, ``[..., N, E]``.
        mask: ``[..., M, N]`` bool, False where a query may not look.
        bias: B, ``[..., M, N]``, added to the scores.

    Returns:
        ``[..., M, E]``; zero for a query that may look nowhere.

    Example:
        >>> attend(torch.zeros(1, 2), torch.ones(2, 2), torch.tensor([[1.0], [3.0]]))
        tensor([[2.]])

    Reference: Vaswani et al., "Attention Is All You Need", 2017, equation 1.
    """
    scores = queries @ keys.mT * queries.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    return masked_softmax(scores, mask) @ values


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in a subspace of its own.

    Args:
        query_width: length of the vectors that ask.
        key_width: length of the vectors that are compared with them.
        value_width: length of the vectors that are averaged.
        width: length of the result, a multiple of ``heads``.
        heads: number of attentions.

    Raises:
        SettingsError: if ``width`` is no multiple of ``heads``.
    """

    def __init__(self, query_width: int, key_width: int, value_width: int, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise SettingsError(f"the width of attention must be a multiple of heads, got {width} and {heads}")
        self.heads = heads
        self.query, self.key = nn.Linear(query_width, width), nn.Linear(key_width, width)
        self.value, self.out = nn.Linear(value_width, width), nn.Linear(width, width)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Attend from ``[..., M, query_width]`` to ``[..., N, …]``.

        Args:
            queries: what asks.
            keys: what is compared.
            values: what is averaged.
            mask: ``[..., M, N]`` bool, the same for each head.
            bias: ``[heads, ..., M, N]``, added to the scores.

        Returns:
            ``[..., M, width]``.
        """
        found = attend(
            self._split(self.query(queries)), self._split(self.key(keys)), self._split(self.value(values)), mask, bias
        )  # [heads, ..., M, width/heads]
        return self.out(found.movedim(0, -2).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).movedim(-2, 0)  # [heads, ..., N, width/heads]


class TransformerBlock(nn.Module):
    """Attention, then a perceptron on each vector, both added to what was there (pre-norm).

    Args:
        width: length of the vectors, a multiple of ``heads``.
        heads: number of attentions.
        hidden: width of the perceptron's hidden layer; four times ``width`` when 0.
    """

    def __init__(self, width: int, heads: int, hidden: int = 0) -> None:
        super().__init__()
        self.attention_norm, self.norm = LayerNorm((width,)), LayerNorm((width,))
        self.attention = MultiHeadAttention(width, width, width, width, heads)
        self.perceptron = dense(width, hidden or 4 * width, width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Let ``[M, width]`` read a context ``[N, width]``, by default themselves.

        Args:
            x: what reads.
            context: what is read.
            mask: ``[M, N]`` bool.
            bias: ``[heads, M, N]``.
        """
        asking = self.attention_norm(x)
        read = asking if context is None else self.attention_norm(context)
        x = x + self.attention(asking, read, read, mask, bias)
        return x + self.perceptron(self.norm(x))
