"""torchmeta's place of TripleMNIST; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import TripleMNIST, TripleMNISTClassDataset, TripleMNISTDataset

__all__ = ["TripleMNIST", "TripleMNISTClassDataset", "TripleMNISTDataset"]
