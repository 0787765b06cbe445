"""Regression tasks that are made up; inputs and targets are float64."""

from __future__ import annotations

import importlib
from typing import Any

from torchmeta.toy.harmonic import Harmonic, HarmonicTask
from torchmeta.toy.sinusoid import Sinusoid, SinusoidTask
from torchmeta.toy.sinusoid_line import LinearTask, SinusoidAndLine

__all__ = ["Harmonic", "HarmonicTask", "LinearTask", "Sinusoid", "SinusoidAndLine", "SinusoidTask"]

_INSIDE = ("helpers",)


def __getattr__(name: str) -> Any:
    """The modules inside, loaded when asked for."""
    if name in _INSIDE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
