"""FewShotClassifier() on scikit-learn's digits beside kNN, SVM and logistic regression on the pixels.

    python benchmarks/digits_estimator.py --draws 100

Ten classes; the support set is drawn at random from all 1,797 digits, every other digit is asked about. The
rivals get the 64 pixels with the hyperparameter that was best for them on these very draws, of those listed below.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from metacortex import FewShotClassifier
from metacortex.estimators.heads import softmax
from metacortex.evaluation.intervals import mean_interval, paired_interval

RIVALS: dict[str, list[Callable[[], object]]] = {
    "kNN": [lambda k=k: KNeighborsClassifier(k) for k in (1, 3)],
    "SVM": [lambda c=c: SVC(C=c) for c in (1, 10, 100)],
    "logistic regression": [lambda c=c: LogisticRegression(C=c, max_iter=2000) for c in (0.001, 0.01, 1)],
}


def draws(targets: np.ndarray, shot: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows to be asked about."""
    for seed in range(count):
        rng = np.random.default_rng([shot, seed])
        support = np.concatenate(
            [rng.choice(np.flatnonzero(targets == digit), shot, replace=False) for digit in range(10)]
        )
        yield support, np.setdiff1d(np.arange(len(targets)), support)


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: how far the share of right answers lies from the probability said, on average."""
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return float(sum(abs((sure - right)[place == b].sum()) for b in range(bins)) / len(sure))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--head", default="auto")
    parser.add_argument("--model", default=None, help="a run folder instead of the weights of the package")
    parser.add_argument("--every", type=int, default=1, help="ask about every n-th of the other digits alone")
    options = parser.parse_args()
    digits = load_digits()
    images, targets = digits.images, digits.target
    pixels = images.reshape(len(images), -1)  # [N, 8, 8] -> [N, 64]
    for shot in (1, 5):
        ours, seconds, losses = [], [], []
        sure: dict[str, list[np.ndarray]] = {"with": [], "without": []}
        hits: list[np.ndarray] = []
        theirs = {(name, i): [] for name, kinds in RIVALS.items() for i in range(len(kinds))}
        for support, others in draws(targets, shot, options.draws):
            rest = others[:: options.every]
            began = time.perf_counter()
            model = FewShotClassifier(options.model, head=options.head).fit(images[support], targets[support])
            seconds.append(time.perf_counter() - began)
            p = model.predict_proba(images[rest])
            ours.append(float((p.argmax(1) == targets[rest]).mean()))
            plain = softmax(np.log(np.maximum(p, 1e-300)) * model.adapted_.temperature)
            sure["with"].append(p.max(1))
            sure["without"].append(plain.max(1))
            hits.append(p.argmax(1) == targets[rest])
            losses.append(float(-np.log(p[np.arange(len(rest)), targets[rest]]).mean()))
            for name, i in theirs:
                rival = RIVALS[name][i]().fit(pixels[support], targets[support])  # type: ignore[attr-defined]
                theirs[name, i].append(float(rival.score(pixels[rest], targets[rest])))
        print(f"10-way {shot}-shot, {options.draws} draws, {np.median(seconds):.3f} s to fit")
        print(f"  FewShotClassifier     {mean_interval(ours)}   log loss {np.mean(losses):.3f}")
        right = np.concatenate(hits)
        errors = {name: calibration_error(np.concatenate(values), right) for name, values in sure.items()}
        print(f"  expected calibration error {errors['with']:.3f}, without the temperature {errors['without']:.3f}")
        for name, kinds in RIVALS.items():
            best = max((theirs[name, i] for i in range(len(kinds))), key=np.mean)
            print(f"  {name:<20}  {mean_interval(best)}   ahead by {paired_interval(ours, best)}")


if __name__ == "__main__":
    main()
