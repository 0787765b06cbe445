from __future__ import annotations

import pytest

from metacortex.estimators import base

from .estimator_support import untrained


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are seen by an untrained network: what is tested is everything around it."""
    monkeypatch.setattr(base, "default_source", untrained)
