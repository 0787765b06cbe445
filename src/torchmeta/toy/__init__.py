"""Regression tasks that are made up; inputs and targets are float64."""

from __future__ import annotations

from torchmeta.toy.harmonic import Harmonic, HarmonicTask
from torchmeta.toy.sinusoid import Sinusoid, SinusoidTask
from torchmeta.toy.sinusoid_line import LinearTask, SinusoidAndLine

__all__ = ["Harmonic", "HarmonicTask", "LinearTask", "Sinusoid", "SinusoidAndLine", "SinusoidTask"]
