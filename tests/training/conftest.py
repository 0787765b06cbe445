from __future__ import annotations

from pathlib import Path

import pytest

from metacortex.data.dataset import Dataset
from training.crash_driver import toy_data


@pytest.fixture(scope="session")
def data() -> Dataset:
    return toy_data()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def drawn() -> None:
    """For tests that look at the curves; elsewhere drawing them is left out to save time."""


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("metacortex.training.run.draw_curves", lambda *arguments: None)
