"""Drawn shapes: images to learn from, made in the tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def draw(kind: int, seed: int, size: int = 32, paper: int = 0, ink: int = 255) -> Image.Image:
    """One of twenty-five shapes, a little different each time."""
    rng = np.random.default_rng([kind, seed])
    image = Image.new("L", (size, size), paper)
    pen = ImageDraw.Draw(image)
    low, high = size * (0.2 + 0.05 * rng.random()), size * (0.8 - 0.05 * rng.random())
    middle, width, box = size / 2, max(size // 10, 1), (low, low, high, high)
    strokes = [
        lambda: pen.rectangle(box, outline=ink, width=width),
        lambda: pen.ellipse((low, 0.4 * size, high, 0.65 * size), fill=ink),
        lambda: pen.line(box, fill=ink, width=width),
        lambda: pen.line((middle, low, middle, high), fill=ink, width=width),
        lambda: pen.arc(box, 0, 180, fill=ink, width=width),
    ]
    strokes[kind % 5]()
    return image.rotate(7 * kind, fillcolor=paper)  # no two kinds come to lie alike


def draw_folder(path: Path, kinds: Iterable[int], count: int, **style: int) -> Path:
    """``count`` images, drawn in that style, of each kind, in a sub-folder per kind; returns the folder."""
    for kind in kinds:
        (path / f"shape{kind:02}").mkdir(parents=True, exist_ok=True)
        for seed in range(count):
            draw(kind, seed, **style).save(path / f"shape{kind:02}" / f"{seed}.png")
    return path
