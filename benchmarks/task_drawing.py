"""How many tasks per second are drawn: 5-way 1-shot 15 queries, 28x28, float32 batches of 32.

    python benchmarks/task_drawing.py [--json] [--repeats 9] [--batches 40]

Uses Omniglot (Vinyals split, meta-train classes with rotations) where METACORTEX_DATA is set,
otherwise noise of the same shape: 4,112 classes of 20 examples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import numpy as np
import torch

from metacortex.data.sources import load_dataset
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.tasks.episodes import Episodes, EpisodeSpec

SIZE = 32


def noise_view(data: str) -> ClassView:
    """A view of the shape of a data source, filled with noise; Omniglot's 1,028 classes in four rotations."""
    classes, each, turns, shape = (1028, 20, 4, (1, 28, 28)) if data == "omniglot" else (64, 600, 1, (3, 84, 84))
    examples = np.random.default_rng(0).integers(0, 256, (classes * each, *shape), dtype=np.uint8)
    store = ClassStore.from_arrays(examples, np.repeat(np.arange(classes), each))
    return ClassView(store, np.tile(np.arange(classes), turns), np.repeat(np.arange(turns), classes), None)


def measure(episodes: Episodes, repeats: int, batches: int) -> tuple[list[float], float]:
    """Tasks per second of each repeat, every batch a new one; and tasks per second of processor time overall."""
    rates, busy = [], 0.0
    for repeat in range(-1, repeats):  # the first is a warm-up
        begin, begin_busy = time.perf_counter(), time.process_time()
        for b in range(batches):
            first = ((repeat + 1) * batches + b) * SIZE
            episodes.batch(range(first, first + SIZE))
        rates.append(batches * SIZE / (time.perf_counter() - begin))
        busy += (time.process_time() - begin_busy) if repeat >= 0 else 0.0
    return rates[1:], repeats * batches * SIZE / busy


def omniglot_episodes(data: str = "omniglot", dtype: torch.dtype = torch.float32) -> Episodes:
    """The tasks of this benchmark, from data where METACORTEX_DATA is set and from noise elsewhere."""
    real = bool(os.environ.get("METACORTEX_DATA"))
    view = load_dataset(data).splits["train"] if real else noise_view(data)
    return Episodes(view, EpisodeSpec(5, 1, 15), seed=0, split="train", dtype=dtype)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["omniglot", "mini_imagenet"], default="omniglot")
    parser.add_argument("--dtype", choices=["float32", "uint8"], default="float32")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batches", type=int, default=40, help="batches per repeat")
    options = parser.parse_args()
    real = bool(os.environ.get("METACORTEX_DATA"))
    episodes = omniglot_episodes(options.data, getattr(torch, options.dtype))
    view = episodes.view
    rates, rate_busy = measure(episodes, options.repeats, options.batches)
    result = {
        "benchmark": "task_drawing",
        "data": options.data if real else f"noise like {options.data}",
        "shape": list(view.store.shape),
        "dtype": options.dtype,
        "classes": len(view),
        "protocol": episodes.protocol,
        "batch": SIZE,
        "tasks_per_s": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "tasks_per_cpu_s": round(rate_busy),
        "repeats": options.repeats,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['data']}, {result['classes']} classes, {result['protocol']}, {options.dtype}, batches of {SIZE}: "
            f"{result['tasks_per_s']:,} tasks/s "
            f"(median of {options.repeats}; {result['lowest']:,} to {result['highest']:,}), "
            f"{result['tasks_per_cpu_s']:,} per second of processor time"
        )


if __name__ == "__main__":
    main()
