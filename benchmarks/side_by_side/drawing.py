"""Tasks drawn per second, beside the loaders of other libraries.

    python -m benchmarks.side_by_side.drawing [--seconds 5] [--out FOLDER]

Omniglot, 5-way 1-shot with 15 queries, 28×28 float32, in batches of 32 tasks, one process and no workers. metacortex
draws from Omniglot where METACORTEX_DATA is set, else from noise of the same shape. The others get 105×105 drawings
that lie decoded in memory, which is more than their own data sets do for them, and treat them as their examples do:
one image at a time, resized and made a tensor when it is asked for.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from benchmarks.side_by_side.case import Unable
from benchmarks.side_by_side.libraries import load, without_init
from benchmarks.side_by_side.processes import said

WAY, SHOT, QUERIES, TASKS, EACH, CLASSES = 5, 1, 15, 32, 20, 1028

Draw = Callable[[], Any]
"""Draws a batch of tasks."""


def drawings(classes: int = CLASSES) -> np.ndarray:
    """``[classes, EACH, 105, 105]`` uint8: rough strokes on nothing."""
    rng = np.random.default_rng(0)
    found = np.zeros((classes, EACH, 105, 105), np.uint8)
    for image in found.reshape(-1, 105, 105):
        row, column = rng.integers(10, 90, 2)
        image[row : row + 4, 10:95] = image[10:95, column : column + 4] = 255
    return found


def _to_tensor(image: Image.Image) -> Tensor:
    """As torchvision's ``Resize(28)`` and ``ToTensor``."""
    small = np.array(image.resize((28, 28), Image.Resampling.BILINEAR))
    return torch.from_numpy(small)[None].to(torch.float32) / 255


class _ClassOfImages(Dataset):
    """One class of one rotation, as torchmeta's ``OmniglotDataset``."""

    def __init__(self, images: np.ndarray, angle: int) -> None:
        self.images, self.angle = images, angle

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.fromarray(self.images[index])
        return _to_tensor(image.rotate(self.angle) if self.angle else image)


def torchmeta_idiom(images: np.ndarray) -> Draw:
    """Classes, rotations as classes, a splitter and ``BatchMetaDataLoader``, written again by hand."""
    turned = 4 * len(images)

    def part(classes: list[_ClassOfImages], chosen: list[list[int]]) -> Any:
        pairs = [(c[i], label) for label, (c, own) in enumerate(zip(classes, chosen, strict=True)) for i in own]
        return default_collate(pairs)

    def task() -> Any:
        picked = random.sample(range(turned), WAY)
        classes = [_ClassOfImages(images[i % len(images)], 90 * (i // len(images))) for i in picked]
        order = [np.random.permutation(len(c))[: SHOT + QUERIES].tolist() for c in classes]
        train, test = [o[:SHOT] for o in order], [o[SHOT:] for o in order]
        return OrderedDict(train=part(classes, train), test=part(classes, test))

    return lambda: default_collate([task() for _ in range(TASKS)])


class _Images(Dataset):
    """All images one after the other, as torchvision's and easyfsl's data sets."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images.reshape(-1, *images.shape[2:])
        self.labels = [i // EACH for i in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return _to_tensor(Image.fromarray(self.images[index])), self.labels[index]

    def get_labels(self) -> list[int]:
        """What easyfsl's sampler asks for."""
        return self.labels


def learn2learn(images: np.ndarray) -> Draw:
    """``TaskDataset`` over a ``MetaDataset``, with the transforms of its Omniglot examples."""
    without_init("learn2learn")
    load("learn2learn.utils")
    data, steps = load("learn2learn.data"), load("learn2learn.data.transforms")
    dataset = data.MetaDataset(_Images(images))
    chain = [
        steps.NWays(dataset, WAY),
        steps.KShots(dataset, SHOT + QUERIES),
        steps.LoadData(dataset),
        steps.RemapLabels(dataset),
        steps.ConsecutiveLabels(dataset),
    ]
    tasks = data.TaskDataset(dataset, task_transforms=chain, num_tasks=20_000)
    return lambda: [tasks.sample() for _ in range(TASKS)]


def easyfsl(images: np.ndarray) -> Draw:
    """``TaskSampler`` and its collate function in a ``DataLoader``; a task at a time is all that they give."""
    without_init("easyfsl")
    without_init("easyfsl.datasets")  # its own data sets need torchvision
    load("easyfsl.datasets").FewShotDataset = load("easyfsl.datasets.few_shot_dataset").FewShotDataset
    dataset = _Images(images)
    kind = load("easyfsl.samplers.task_sampler").TaskSampler
    sampler = kind.__new__(kind)  # today's PyTorch refuses what its constructor tells the base class
    sampler.n_way, sampler.n_shot, sampler.n_query, sampler.n_tasks = WAY, SHOT, QUERIES, 10**6
    rows = np.arange(len(dataset)).reshape(-1, EACH).tolist()
    sampler.items_per_label = dict(enumerate(rows))
    batches = iter(DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn))
    return lambda: [next(batches) for _ in range(TASKS)]


def torchmeta(images: np.ndarray) -> Draw:
    """The library itself, which no PyTorch of today satisfies."""
    try:
        found = metadata.version("torchmeta")
    except metadata.PackageNotFoundError:
        raise Unable("1.8.0 is not installed: it asks for torch<1.10 and torchvision<0.11") from None
    raise Unable(f"{found} is installed, but its name is that of metacortex's own package")


def metacortex(images: np.ndarray) -> Draw:
    """`Episodes`, from the store."""
    from benchmarks.task_drawing import omniglot_episodes

    episodes, first = omniglot_episodes(), iter(range(0, 10**9, TASKS))
    return lambda: episodes.batch(range(start := next(first), start + TASKS))


LOADERS: dict[str, Callable[[np.ndarray], Draw]] = {
    "metacortex": metacortex,
    "torchmeta": torchmeta,
    "torchmeta's idiom": torchmeta_idiom,
    "learn2learn": learn2learn,
    "easyfsl": easyfsl,
}


def measure(seconds: float, classes: int = CLASSES) -> list[dict[str, Any]]:
    """Tasks per second of each loader, timed in turns: lists of rates, or the reason why there are none."""
    images, draws, rows = drawings(classes), {}, []
    for name, make in LOADERS.items():
        row: dict[str, Any] = {"loader": name, "rates": [], "reason": None}
        rows.append(row)
        try:
            draws[name] = make(images)
            draws[name]()
        except Exception as error:  # an old library may fail in any way
            row["reason"] = said(error)
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for row in rows:
            if row["reason"] is None:
                row["rates"].append(_rate(draws[row["loader"]], 20 if row["loader"] == "metacortex" else 1))
        rounds += 1
    return rows


def _rate(draw: Draw, batches: int) -> float:
    began = time.perf_counter()
    for _ in range(batches):
        draw()
    return batches * TASKS / (time.perf_counter() - began)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, with the ratio of metacortex to each."""
    lines = ["| loader | tasks/s (spread) | metacortex draws |", "|---|---|---|"]
    ours = statistics.median(rows[0]["rates"])
    for row in rows:
        rates = row["rates"]
        if not rates:
            lines.append(f"| {row['loader']} | {row['reason']} | – |")
            continue
        median = statistics.median(rates)
        ratio = "" if row is rows[0] else f"{ours / median:.0f} times as many"
        lines.append(f"| {row['loader']} | {median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--classes", type=int, default=CLASSES, help="of the drawings that the others get")
    parser.add_argument("--out", type=Path, help="folder for drawing.json and drawing.md")
    options = parser.parse_args()
    rows = measure(options.seconds, options.classes)
    print(table(rows), end="")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "drawing.md").write_text(table(rows), encoding="utf-8")
        (options.out / "drawing.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
