"""The version of the library whose names these are."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "1.8.0"
"""The last release of torchmeta; the version of what runs here is ``metacortex.__version__``."""
