"""Which examples to label next: those that `suggest` names, beside others drawn at random from the same pool.

    python benchmarks/suggested_labels.py --draws 40

One example of each class is labelled; then as many more as there are classes, or twice as many, out of a pool of 300
(of all but 100, where there are fewer), and the classifier is fitted anew. Both choices begin with the same examples,
have the same pool, and are asked about the same rest, of at most 400.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from metacortex import FewShotClassifier
from metacortex.evaluation.intervals import mean_interval, paired_interval

TASKS = {
    "digits, images": lambda: (load_digits().images, load_digits().target),
    "digits, a table of 64 pixels": lambda: load_digits(return_X_y=True),
    "breast cancer, a table": lambda: load_breast_cancer(return_X_y=True),
    "wine, a table": lambda: load_wine(return_X_y=True),
}


def one_draw(X: np.ndarray, y: np.ndarray, times: int, seed: int) -> tuple[float, float]:
    """Accuracy after labelling what is suggested, and after labelling at random."""
    rng = np.random.default_rng([times, seed])
    first = np.array([rng.choice(np.flatnonzero(y == c)) for c in np.unique(y)])
    others = rng.permutation(np.setdiff1d(np.arange(len(y)), first))
    pool = others[: min(300, len(others) - 100)]
    rest, count = others[len(pool) : len(pool) + 400], times * len(first)
    suggested = pool[FewShotClassifier().fit(X[first], y[first]).suggest(X[pool], count)]
    found = []
    for more in (suggested, rng.choice(pool, count, replace=False)):
        labelled = np.concatenate([first, more])
        found.append(FewShotClassifier().fit(X[labelled], y[labelled]).score(X[rest], y[rest]))
    return found[0], found[1]


def main() -> None:
    """Print a line for each task and number of labels."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--only", default="", help="tasks with this in their names")
    options = parser.parse_args()
    for name in (name for name in TASKS if options.only in name):
        X, y = TASKS[name]()
        for times in (1, 2):
            began = time.process_time()
            pairs = np.array([one_draw(X, y, times, seed) for seed in range(options.draws)])
            chosen, by_lot = pairs.T
            print(
                f"{name}, {times * len(np.unique(y))} labels more: suggested {mean_interval(chosen)}, at random "
                f"{mean_interval(by_lot)}, ahead by {paired_interval(chosen, by_lot)} "
                f"({time.process_time() - began:.0f} s of a core)",
                flush=True,
            )


if __name__ == "__main__":
    main()
