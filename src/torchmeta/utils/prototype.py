"""Prototypical networks: classes as means of their embedded examples."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["get_num_samples", "get_prototypes", "prototypical_loss"]


def get_num_samples(targets: Tensor, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
    """Examples of each class: ``[B, N]`` targets to ``[B, C]`` counts."""
    counts = torch.zeros(targets.shape[0], num_classes, dtype=dtype, device=targets.device)
    return counts.scatter_add_(1, targets, torch.ones_like(targets, dtype=counts.dtype))


def get_prototypes(embeddings: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Mean embedding of each class.

    Args:
        embeddings: ``[B, N, D]``.
        targets: ``[B, N]`` int64 in ``0 .. num_classes-1``.
        num_classes: C.

    Returns:
        ``[B, C, D]``; zeros for a class without examples.
    """
    counts = get_num_samples(targets, num_classes, dtype=embeddings.dtype).clamp_min(1)
    sums = embeddings.new_zeros(embeddings.shape[0], num_classes, embeddings.shape[-1])
    sums = sums.scatter_add(1, targets.unsqueeze(-1).expand_as(embeddings), embeddings)
    return sums / counts.unsqueeze(-1)


def prototypical_loss(prototypes: Tensor, embeddings: Tensor, targets: Tensor, **kwargs: Any) -> Tensor:
    """Cross-entropy of the negative squared Euclidean distances to the prototypes.

    Args:
        prototypes: ``[B, C, D]``.
        embeddings: ``[B, M, D]``.
        targets: ``[B, M]`` int64.
        kwargs: of `torch.nn.functional.cross_entropy`.

    Reference: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017, eq. 2.
    """
    distances = (prototypes.unsqueeze(2) - embeddings.unsqueeze(1)).square().sum(-1)  # [B, C, M]
    return F.cross_entropy(-distances, targets, **kwargs)
