"""Matching networks: attention over the support set by cosine similarity."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["matching_log_probas", "matching_loss", "matching_probas", "pairwise_cosine_similarity"]


def pairwise_cosine_similarity(embeddings1: Tensor, embeddings2: Tensor, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle of every pair: ``[B, N, D]`` and ``[B, M, D]`` to ``[B, N, M]``.

    Args:
        embeddings1: ``[B, N, D]``.
        embeddings2: ``[B, M, D]``.
        eps: least squared length that a vector is taken to have.
    """
    first, second = (e * e.square().sum(-1, keepdim=True).clamp_min(eps).rsqrt() for e in (embeddings1, embeddings2))
    return first @ second.transpose(1, 2)


def matching_log_probas(
    embeddings: Tensor, targets: Tensor, test_embeddings: Tensor, num_classes: int, eps: float = 1e-8
) -> Tensor:
    """log p(class | test example) = log Σ of the softmax of the similarities over the examples of the class.

    Args:
        embeddings: ``[B, N, D]`` of the support set.
        targets: ``[B, N]`` int64.
        test_embeddings: ``[B, M, D]``.
        num_classes: C.
        eps: see `pairwise_cosine_similarity`.

    Returns:
        ``[B, C, M]``; −∞ for a class without examples.

    Reference: Vinyals et al., "Matching Networks for One Shot Learning", 2016, eq. 1.
    """
    attention = F.log_softmax(pairwise_cosine_similarity(embeddings, test_embeddings, eps), dim=1)  # [B, N, M]
    inside = F.one_hot(targets, num_classes).bool().transpose(1, 2)  # [B, C, N]
    hidden = attention.unsqueeze(1).masked_fill(~inside.unsqueeze(-1), float("-inf"))  # [B, C, N, M]
    found = inside.any(-1)[..., None, None]
    # the sum of no number at all has no gradient: taken of zeros, and put to -inf afterwards
    sums = torch.logsumexp(torch.where(found, hidden, torch.zeros_like(hidden)), dim=2)
    return sums.masked_fill(~found.squeeze(-1), float("-inf"))


def matching_probas(
    embeddings: Tensor, targets: Tensor, test_embeddings: Tensor, num_classes: int, eps: float = 1e-8
) -> Tensor:
    """Probabilities ``[B, C, M]``, see `matching_log_probas`."""
    return matching_log_probas(embeddings, targets, test_embeddings, num_classes, eps).exp()


def matching_loss(
    train_embeddings: Tensor,
    train_targets: Tensor,
    test_embeddings: Tensor,
    test_targets: Tensor,
    num_classes: int,
    eps: float = 1e-8,
    **kwargs: Any,
) -> Tensor:
    """Negative log-likelihood of the test targets ``[B, M]``; ``kwargs`` of `torch.nn.functional.nll_loss`."""
    log_probas = matching_log_probas(train_embeddings, train_targets, test_embeddings, num_classes, eps)
    return F.nll_loss(log_probas, test_targets, **kwargs)
