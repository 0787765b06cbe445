"""Reads docstrings as this library writes them: a section ``Example:`` is a doctest, not a remark."""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

__all__ = ["Doctests"]

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Doctests(Extension):
    """Gives the section the name by which the parser of docstrings knows doctests."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for every class, function and module that was read."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = _EXAMPLE.sub("Examples:", obj.docstring.value)
