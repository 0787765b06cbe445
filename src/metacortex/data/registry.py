"""The face of the data sources, as ``metacortex data`` and the training loop see them."""

from __future__ import annotations

from metacortex.data.added import add, check, describe, overview
from metacortex.data.sources import dataset_names, load_dataset

__all__ = ["add", "check", "dataset_names", "describe", "load_dataset", "overview"]
