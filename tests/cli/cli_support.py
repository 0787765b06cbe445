"""Shapes to learn from, a tiny run, and what a command leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

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


def draw(kind: int, seed: int, size: int = 24) -> Image.Image:
    """A bright bar at one of 25 angles, or a disk, on a dark ground."""
    rng = np.random.default_rng([kind, seed])
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    low, high = size * (0.15 + 0.1 * rng.random()), size * (0.85 - 0.1 * rng.random())
    if kind % 2:
        pen.ellipse((low, low, high, size * (0.3 + 0.02 * kind)), fill=255)
    else:
        pen.line((low, size / 2, high, size / 2), fill=255, width=max(size // 8, 1))
    return image.rotate(7 * kind)


def draw_folder(path: Path, kinds: range | list[int], count: int, size: int = 24) -> Path:
    for kind in kinds:
        (path / f"shape{kind:02}").mkdir(parents=True, exist_ok=True)
        for seed in range(count):
            draw(kind, seed, size).save(path / f"shape{kind:02}" / f"{seed}.png")
    return path
