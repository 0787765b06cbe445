"""Memory in which the channels of a pixel lie side by side, as the kernels in C read it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["channels_last", "room"]


def channels_last(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` with the channels of a pixel side by side, copied where it is not."""
    return x.contiguous(memory_format=torch.channels_last)


def room(like: Tensor, side: tuple[int, int], dtype: torch.dtype | None = None, channels: int | None = None) -> Tensor:
    """Uninitialised ``[N, C, *side]``, channels-last; what is not given is that of ``like``."""
    shape = (like.shape[0], like.shape[1] if channels is None else channels, *side)
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)
