"""torchmeta's place of Letter; see `torchmeta.datasets.tabular`."""

from __future__ import annotations

from torchmeta.datasets.tabular import Letter, LetterClassDataset, LetterDataset

__all__ = ["Letter", "LetterClassDataset", "LetterDataset"]
