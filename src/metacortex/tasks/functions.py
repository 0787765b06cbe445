"""Function families by name: what training, evaluation and the command line go through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metacortex.errors import unknown_name
from metacortex.tasks.function_source import FunctionTasks
from metacortex.tasks.gaussian_process import GaussianProcess, GaussianProcessSettings
from metacortex.tasks.waves import Harmonic, HarmonicSettings, Sinusoid, SinusoidSettings

__all__ = ["function_names", "function_settings", "make_functions"]

_FAMILIES: dict[str, tuple[Callable[..., FunctionTasks], type]] = {
    Sinusoid.name: (Sinusoid, SinusoidSettings),
    Harmonic.name: (Harmonic, HarmonicSettings),
    GaussianProcess.name: (GaussianProcess, GaussianProcessSettings),
}


def function_names() -> list[str]:
    """Names of the function families, sorted."""
    return sorted(_FAMILIES)


def function_settings(name: str) -> type:
    """The frozen dataclass of a family's settings.

    Raises:
        SettingsError: for an unknown name, naming the nearest one.
    """
    if name not in _FAMILIES:
        raise unknown_name("function family", name, _FAMILIES)
    return _FAMILIES[name][1]


def make_functions(
    name: str,
    *,
    shot: int | tuple[int, int] = 10,
    queries: int | tuple[int, int] = 10,
    seed: int = 0,
    split: str = "train",
    **options: Any,
) -> FunctionTasks:
    """Regression tasks of a family.

    Args:
        name: see `function_names`.
        shot: support examples, or an inclusive range ``(low, high)``.
        queries: query examples, or a range.
        seed: any integer.
        split: name of the split; different splits have unrelated tasks.
        options: fields of the family's settings.

    Raises:
        SettingsError: for an unknown name, option or value.

    Example:
        >>> make_functions("sinusoid", shot=5, split="test").protocol
        'sinusoid amplitude 0.1..5, phase 0..3.14159, frequency 1, domain -5..5, 5-shot 10 queries, split test'
    """
    settings = function_settings(name)
    known = {f.name for f in dataclasses.fields(settings)}
    for key in options:
        if key not in known:
            raise unknown_name(f"setting of {name}", key, known)
    return _FAMILIES[name][0](settings(**options), shot=shot, queries=queries, seed=seed, split=split)
