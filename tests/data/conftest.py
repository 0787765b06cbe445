from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("METACORTEX_CACHE", str(cache))
    return cache


@pytest.fixture
def class_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of class folders with `count` distinct images each."""

    def make(names: list[str], count: int = 2, where: str = "pictures") -> Path:
        rng = np.random.default_rng(3)
        for name in names:
            folder = tmp_path / where / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (9, 7), dtype=np.uint8)).save(folder / f"{i}.png")
        return tmp_path / where

    return make
