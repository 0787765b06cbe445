"""Downloads, which metacortex does."""

from __future__ import annotations

from metacortex.errors import DataError

__all__ = ["fetch"]


def fetch(source: str) -> None:
    """Fetch a data source into metacortex's own folder, where its address is known; else leave it missing.

    Raises:
        DataError: if a download fails.
    """
    try:
        from metacortex.data.fetch import fetch as download  # pyright: ignore
    except ImportError:
        raise DataError(f"{source} cannot be downloaded: leave download=True out for what to put where") from None
    download(source)
