"""CIFAR-100 under two splits."""

from __future__ import annotations

from torchmeta.datasets.images import CIFARFS, FC100

__all__ = ["CIFARFS", "FC100"]
