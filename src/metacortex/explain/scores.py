"""How strongly a learner holds to an answer."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_odds"]


def log_odds(logits: Tensor) -> Tensor:
    """log p / (1 − p) of each class, ``[..., way]`` from logits ``[..., way]``.

    Near certainty the probability says little of what has changed; the log-odds go on.

    *Differentiability*: smooth; with one class they are infinite.

    Example:
        >>> log_odds(torch.tensor([2.0, 0.5])).tolist()
        [1.5, -1.5]
    """
    way = logits.shape[-1]
    own = torch.eye(way, dtype=torch.bool, device=logits.device)
    rivals = logits[..., None, :].expand(*logits.shape, way).masked_fill(own, -torch.inf)
    return logits - rivals.logsumexp(-1)
