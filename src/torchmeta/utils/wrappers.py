"""The same as `torchmeta.utils.data.wrappers`."""

from __future__ import annotations

from torchmeta.utils.data.wrappers import NonEpisodicWrapper

__all__ = ["NonEpisodicWrapper"]
