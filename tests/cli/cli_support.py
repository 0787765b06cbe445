"""A tiny run, and what a command leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TINY = ["--backbone", "mlp", "--set", "backbone.hidden=16", "--size", "14", "--queries", "3", "--train-way", "5"]
TINY += ["--tasks", "2", "--set", "training.validation_tasks=3", "--set", "training.validate_every=4"]


@dataclass(frozen=True)
class Said:
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it is."""
        return json.loads(self.out)

    def line(self) -> str:
        """The one line of an error."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("metacortex: error: ")
        return lines[0].removeprefix("metacortex: error: ")


Command = Callable[..., Said]
