"""Tasks per second of the loader of ``torchmeta``, 5-way 1-shot with 15 test examples, no worker processes.

    python benchmarks/torchmeta_loader.py [--seconds 5] [--batch 4]

Omniglot (28x28, rotations as classes) and mini-ImageNet (84x84), with the helpers' default transforms, where their data
are found. The loader of torchmeta 1.8.0 gave 56 to 91 and 36 to 43 tasks per second on two cores (with the two repairs
that it needs on today's PyTorch).
"""

from __future__ import annotations

import argparse
import statistics
import time

from metacortex.errors import DataError
from torchmeta.datasets.helpers import miniimagenet, omniglot
from torchmeta.utils.data import BatchMetaDataLoader

OLD = {"omniglot": 91.0, "miniimagenet": 43.0}
"""The best that torchmeta 1.8.0 gave without workers."""


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    for helper in (omniglot, miniimagenet):
        name = helper.__name__
        try:
            dataset = helper("data", shots=1, ways=5, test_shots=15, meta_train=True)
        except DataError as error:
            print(f"{name}: not measured: {error}")
            continue
        batches = iter(BatchMetaDataLoader(dataset, batch_size=options.batch))
        for _ in range(3):
            next(batches)
        walls, cpus = [], []
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end:
            wall, cpu = time.perf_counter(), time.process_time()
            next(batches)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        pace = options.batch * len(walls) / sum(walls)
        median, best = options.batch / statistics.median(cpus), options.batch / min(cpus)
        print(
            f"{name}: {pace:.0f} tasks/s, {pace / OLD[name]:.1f} times torchmeta's {OLD[name]:.0f}; per second of "
            f"processor time {median:.0f} (median batch), {best:.0f} (best batch)"
        )


if __name__ == "__main__":
    main()
