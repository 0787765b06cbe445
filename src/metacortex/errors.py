"""Every error metacortex raises on purpose.

    MetacortexError
    ├── SettingsError      a setting, flag or name is unknown or out of range
    ├── DataError          examples are missing, broken, too few or of the wrong shape
    ├── RunError           a run folder, checkpoint or skill cannot be used
    │   └── DivergedError  training went out of bounds
    ├── LearnerError       a learner was given a task or a module it cannot work with
    └── MissingExtraError  an optional dependency is not installed

The command line turns each into one line and exit code 2; anything else is a defect and
shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "DivergedError",
    "LearnerError",
    "MetacortexError",
    "MissingExtraError",
    "RunError",
    "SettingsError",
    "first_line",
    "unknown_name",
]


class MetacortexError(Exception):
    """Base of all errors that a user can repair."""


class SettingsError(MetacortexError, ValueError):
    """A setting, flag or name is unknown or out of range."""


class DataError(MetacortexError, ValueError):
    """Examples are missing, broken, too few or of the wrong shape."""


class RunError(MetacortexError):
    """A run folder, checkpoint or skill cannot be used."""


class DivergedError(RunError):
    """A loss or a gradient of training is not finite."""


class LearnerError(MetacortexError, ValueError):
    """A learner was given a task or a module it cannot work with."""


class MissingExtraError(MetacortexError, ImportError):
    """An optional dependency is not installed.

    Args:
        feature: what the user wanted to do.
        extra: the name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'metacortex[{extra}]'")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing.

    Example:
        >>> first_line(ValueError("no such file\\nand more")), first_line(KeyboardInterrupt())
        ('no such file', 'KeyboardInterrupt')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingsError:
    """Build the error for a name that is not in a list, naming the nearest one that is.

    Args:
        kind: what is named, e.g. ``"learner"``.
        name: what came.
        known: the valid names.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown_name("learner", "mamml", ["maml", "protonet"]))
        unknown learner 'mamml': did you mean 'maml'? (known: maml, protonet)
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return SettingsError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
