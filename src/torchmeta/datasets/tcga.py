"""The Cancer Genome Atlas, which is not provided."""

from __future__ import annotations

from typing import Any

from torchmeta.utils.data.dataset import MetaDataset

__all__ = ["TCGA"]


class TCGA(MetaDataset):
    """Not provided: torchmeta fetched it through a service for torrents that is gone.

    Raises:
        NotImplementedError: always, saying what to do instead.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "torchmeta.datasets.TCGA is not provided: its source, academic torrents, and the package for it are gone. "
            "Where you have the table: metacortex.from_arrays(X, y, splits=...) makes tasks of it"
        )
