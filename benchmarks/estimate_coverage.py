"""How often the interval of `estimate()` holds the accuracy on new data, over many simulated tasks.

python benchmarks/estimate_coverage.py --tasks 200
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from metacortex import FewShotClassifier


def clouds(shot: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three normal clouds in four dimensions around middles that are drawn once."""
    middles = apart * np.random.default_rng(99).standard_normal((3, 4))
    rng = np.random.default_rng(seed)
    return np.concatenate([m + rng.standard_normal((shot, 4)) for m in middles]), np.repeat(["a", "b", "c"], shot)


def main() -> None:
    """A line for each number of examples and distance of the classes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    for shot in (3, 5, 10):
        for apart in (0.8, 1.5):
            inside, widths, gaps = [], [], []
            for seed in range(options.tasks):
                model = FewShotClassifier(head="ridge").fit(*clouds(shot, apart, seed))
                found = model.estimate(repeats=options.repeats, folds=options.folds, rivals=False).accuracy
                truth = model.score(*clouds(300, apart, 10_000 + seed))
                inside.append(found.low <= truth <= found.high)
                widths.append(found.high - found.low)
                gaps.append(found.mean - truth)
            sys.stdout.write(
                f"{shot} per class, {apart} apart, {options.folds} folds: holds the truth in {np.mean(inside):.1%} of "
                f"{options.tasks} tasks; mean width {np.mean(widths):.2f}; bias {np.mean(gaps):+.3f}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
