"""Calling the function that loads a source with the options that a user chose."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metacortex.errors import SettingsError, unknown_name

__all__ = ["call_loader"]

Loaded = TypeVar("Loaded")


def call_loader(
    title: str, loader: Callable[..., Loaded], fixed: Mapping[str, Any], options: Mapping[str, Any]
) -> Loaded:
    """Call the function that loads a source.

    Args:
        title: what to call the source in errors.
        loader: the function.
        fixed: arguments that the name of the source stands for.
        options: what the user chose.

    Raises:
        SettingsError: for an option that the function does not have, naming the nearest that it has.
    """
    parameters = inspect.signature(loader).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = [p for p in parameters if p not in fixed]
    for option in options:
        if not open_ended and option not in known:
            if option == "protocol":
                raise SettingsError(f"{title} is split in one way only: leave the protocol out")
            raise unknown_name(f"option of {title}", option, known)
    return loader(**fixed, **options)
