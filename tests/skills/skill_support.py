"""Shapes to learn from and the learners that learn them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LEARNERS = {
    "protonet": {},
    "maml": {"inner_lr": 0.1},
    "fine_tuning": {"tune_steps": 5},
    "nearest_neighbour": {},
}


def draw(kind: int, seed: int, size: int = 32, paper: int = 0, ink: int = 255) -> Image.Image:
    """One of twenty shapes, a little different each time."""
    rng = np.random.default_rng([kind, seed])
    image = Image.new("L", (size, size), paper)
    pen = ImageDraw.Draw(image)
    low, high = size * (0.2 + 0.05 * rng.random()), size * (0.8 - 0.05 * rng.random())
    middle, width, box = size / 2, max(size // 10, 1), (low, low, high, high)
    strokes = [
        lambda: pen.rectangle(box, outline=ink, width=width),
        lambda: pen.ellipse(box, fill=ink),
        lambda: pen.line(box, fill=ink, width=width),
        lambda: pen.line((middle, low, middle, high), fill=ink, width=width),
        lambda: pen.arc(box, 0, 180, fill=ink, width=width),
    ]
    strokes[kind % 5]()
    return image.rotate(30 * (kind // 5), fillcolor=paper)


def draw_folder(path: Path, kinds: range | list[int], count: int, **style: int) -> Path:
    for kind in kinds:
        (path / f"shape{kind:02}").mkdir(parents=True, exist_ok=True)
        for seed in range(count):
            draw(kind, seed, **style).save(path / f"shape{kind:02}" / f"{seed}.png")
    return path
