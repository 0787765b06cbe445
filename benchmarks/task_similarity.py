"""Does a distance between tasks foretell transfer? Omniglot's 30 background alphabets as sources, its 20 evaluation
alphabets as targets.

    python benchmarks/task_similarity.py --out /tmp/similarity

Transfer: a small Conv4 (8-16-32-32 filters) is trained on drawings 1–10 of one source alphabet alone, then judged on
drawings 11–20 of every other alphabet, by the same 50 tasks for all sources (20-way 5-shot, nearest class mean, body
frozen). The measures see drawings 1–10 of each alphabet. With `all` classes of the source, and with `equal` numbers: 14
of each. Then the whole network is fine-tuned on each target, warm-started from the nearest source and from random ones.
Everything is kept in OUT as it is done; the same command continues.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import nn

from metacortex.data.registry import load_dataset
from metacortex.evaluation.intervals import bootstrap_interval
from metacortex.similarity.baselines import ClassCountDistance, PixelDistance
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.examples import examples_of, groups_of, only_classes
from metacortex.similarity.learned import PairFeatures
from metacortex.similarity.otdd import OTDD
from metacortex.similarity.probe import default_probe
from metacortex.similarity.set_encoder import SetDistance
from metacortex.similarity.task2vec import Task2Vec
from metacortex.similarity.transfer import (
    TransferSettings,
    body_features,
    draw_few_shot,
    fine_tuned_accuracy,
    nearest_mean_accuracy,
    new_body,
    train_body,
)
from metacortex.task import Examples

EQUAL = 14
SEEDS = {"equal": 1, "all": 1}
"""With more seeds, what was learned with seed 0 is judged by networks trained anew as well."""


class Kept:
    """Results in a folder, one JSON file per kind, written after every entry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, kind: str) -> dict[str, Any]:
        """Key -> value; empty where there is none."""
        path = self.folder / f"{kind}.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def add(self, kind: str, key: str, value: Any) -> None:
        """Write one entry; the file is whole at every moment."""
        content = {**self.read(kind), key: value}
        part = self.folder / f"{kind}.json.part"
        part.write_text(json.dumps(content))
        part.replace(self.folder / f"{kind}.json")


@functools.cache
def alphabets() -> tuple[dict[str, Examples], dict[str, Examples], list[str], list[str]]:
    """What the measures see and what transfer is judged on, by alphabet; names of sources and of targets."""
    data = load_dataset("omniglot")
    groups = groups_of(data)
    whole = {name: examples_of(data.store, classes) for name, classes in groups.items()}
    place = {name: torch.arange(len(e.targets)) % 20 for name, e in whole.items()}

    def part(name: str, rows: torch.Tensor) -> Examples:
        e = whole[name]
        return Examples(e.inputs[rows], e.targets[rows], classes=e.classes)

    seen = {name: part(name, place[name] < 10) for name in whole}
    judged = {name: part(name, place[name] >= 10) for name in whole}
    background = {name for name, c in groups.items() if data.store.classes[c[0]].meta["part"] == "background"}
    sources, targets = sorted(background), sorted(set(groups) - background)
    return {n: seen[n] for n in [*sources, *targets]}, judged, sources, targets


def trained(kept: Kept, key: str, source: Examples, how: TransferSettings) -> nn.Module:
    """The network of a source: read where it was kept, else trained and kept."""
    path = kept.folder / "bodies" / f"{key.replace('/', '-')}.safetensors"
    if path.is_file():
        body = new_body(source, how)
        body.load_state_dict(load_file(path))
        return body.eval().requires_grad_(False)
    body = train_body(source, how)
    path.parent.mkdir(exist_ok=True)
    save_file({name: w.contiguous() for name, w in body.state_dict().items()}, path)
    return body


def measure_transfer(kept: Kept) -> None:
    """Accuracy of every source's network on every other alphabet."""
    seen, judged, sources, _ = alphabets()
    rows: dict[str, torch.Tensor] = {}
    for seed in range(max(SEEDS.values())):
        for kind, seeds in SEEDS.items():
            if seed >= seeds:
                continue
            how = TransferSettings(classes=EQUAL if kind == "equal" else 0, seed=seed)
            for name in sources:
                key = f"{kind}/{seed}/{name}"
                if key in kept.read("transfer"):
                    continue
                began = time.process_time()
                body = trained(kept, key, seen[name], how)
                scores = {}
                for other, target in judged.items():
                    # The same tasks for every source and seed.
                    if other not in rows:
                        rows[other] = draw_few_shot(target.targets, TransferSettings())
                    if other != name:
                        scores[other] = nearest_mean_accuracy(body_features(body, target.inputs), rows[other], how.shot)
                kept.add("transfer", key, {"scores": scores, "seconds": time.process_time() - began})


def transfers(kept: Kept, kind: str, seed: int = 0) -> np.ndarray:
    """Accuracies ``[sources, alphabets]``, the sources first; NaN where source and target agree."""
    found = kept.read("transfer")
    _, _, sources, targets = alphabets()
    scores = [found[f"{kind}/{seed}/{s}"]["scores"] for s in sources]
    return np.array([[s.get(t, np.nan) for t in [*sources, *targets]] for s in scores])


def measure_distances(kept: Kept) -> None:
    """Every measure's distances from the sources as they are learned from, and as targets, to all alphabets."""
    seen, _, sources, _ = alphabets()
    probe = default_probe((1, 28, 28))
    makers: dict[str, Callable[[], TaskDistance]] = {
        "pixels": PixelDistance,
        "pixels, mean image": lambda: PixelDistance("mean"),
        "classes": ClassCountDistance,
        "task2vec": lambda: Task2Vec(probe),
        "otdd": lambda: OTDD(probe, most=5),
        "set": lambda: SetDistance(probe),
        "set, foretelling": lambda: SetDistance(probe),
    }
    for name, make in makers.items():
        whole: list[Any] = []
        for kind in SEEDS:
            if f"{kind}/{name}" in kept.read("distances"):
                continue
            began = time.process_time()
            known = {s: only_classes(seen[s], EQUAL, 0) if kind == "equal" else seen[s] for s in sources}
            measure = make()
            if isinstance(measure, SetDistance):
                whole = []  # what it has learned depends on the known tasks
                measure.fit(known, transfers(kept, kind)[:, : len(sources)] if name == "set, foretelling" else None)
            whole = whole or [measure.embed(task) for task in seen.values()]
            before = [measure.embed(task) for task in known.values()] if kind == "equal" else whole[: len(sources)]
            faces = {name: measure}
            if name == "task2vec":
                faces["task2vec, sizes kept"] = Task2Vec(probe, alpha=0.15, relative=False)
            for face, judge in faces.items():
                # Optimal transport is not asked which targets are alike: all pairs would take too long.
                first = len(sources) if name == "otdd" else 0
                direct = judge.between(before, whole[first:])
                alike = None if name == "otdd" else judge.between(whole[: len(sources)], whole).tolist()
                value = {"direct": direct.tolist(), "alike": alike, "seconds": time.process_time() - began}
                kept.add("distances", f"{kind}/{face}", value)
                began = time.process_time()


RANKED = (
    "pixels",
    "pixels, mean image",
    "classes",
    "task2vec",
    "task2vec, sizes kept",
    "set",
    "set, foretelling",
    "otdd",
)
LEARNED = {
    "learned: task2vec": ("task2vec",),
    "learned: task2vec, mean image": ("task2vec", "pixels, mean image"),
    "learned: task2vec, set, mean image": ("task2vec", "set", "pixels, mean image"),
}
BEST = "learned: task2vec, mean image"
"""What `--measure learned` of the command is."""


def rankings(kept: Kept, kind: str, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Transfers ``[sources, targets]`` of a seed and the distances of each measure, learned from those of seed 0."""
    _, _, sources, targets = alphabets()
    count, measured = len(sources), transfers(kept, kind, seed)
    raw = {name: kept.read("distances")[f"{kind}/{name}"] for name in RANKED}
    direct = {name: np.array(value["direct"]) for name, value in raw.items()}
    found = {name: d[:, -len(targets) :] for name, d in direct.items()}
    among = transfers(kept, kind)[:, :count]
    worth = PairFeatures.learn(among, [np.zeros((count, count))], 1.0).z
    found["worth alone"] = np.repeat(-np.nanmean(worth, 1)[:, None], len(targets), 1)
    for name, parts in LEARNED.items():
        near, alike = [direct[p] for p in parts], [np.array(raw[p]["alike"]) for p in parts]
        features = PairFeatures.learn(among, [d[:, :count] for d in near], 0.25)
        weights = features.regress([d[:, :count] for d in near], [a[:, :count] for a in alike], 10.0)
        new = features.columns([d[:, count:] for d in near], [a[:, count:] for a in alike], [None] * len(targets))
        found[name] = -(new @ weights)
    return measured[:, count:], found


def agreement(distances: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Spearman's correlation of nearness and transfer over the sources, for each target; 0 for a constant distance."""
    columns = zip(distances.T, measured.T, strict=True)
    return np.array([0.0 if np.ptp(d) == 0 else float(spearmanr(-d, t)[0]) for d, t in columns])


def gain(distances: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Accuracy from the nearest source minus the mean over all sources, which is what a random one gives."""
    ties = distances == distances.min(0)
    return (measured * ties).sum(0) / ties.sum(0) - measured.mean(0)


def fine_tune(kept: Kept) -> None:
    """Fine-tuned accuracy on each target, warm-started from the nearest source, from three random ones, from none."""
    _, judged, sources, targets = alphabets()
    _, found = rankings(kept, "all")
    how = TransferSettings(tasks=3)
    rng = np.random.default_rng(0)
    for j, name in enumerate(targets):
        chosen = {m: sources[int(found[m][:, j].argmin())] for m in (BEST, "learned: task2vec", "pixels", "classes")}
        chosen |= {f"random {i}": sources[s] for i, s in enumerate(rng.permutation(len(sources))[:3])}
        if name in kept.read("warm"):
            continue
        began, scores = time.process_time(), {}
        for source in set(chosen.values()):
            body = trained(kept, f"all/0/{source}", judged[source], TransferSettings())
            scores[source] = fine_tuned_accuracy(body, judged[name], how, steps=10, lr=0.2)
        nothing = fine_tuned_accuracy(new_body(judged[name], how), judged[name], how, steps=10, lr=0.2)
        value = {m: scores[source] for m, source in chosen.items()} | {"untrained": nothing}
        kept.add("warm", name, {"scores": value, "sources": chosen, "seconds": time.process_time() - began})


def report(kept: Kept) -> None:
    """Print the tables."""
    for kind, seed in [(kind, seed) for kind, seeds in SEEDS.items() for seed in range(seeds)]:
        measured, found = rankings(kept, kind, seed)
        spread = measured.std(0).mean()
        print(
            f"\n{kind} classes, seed {seed}: mean accuracy {measured.mean():.3f}, deviation over sources {spread:.3f}"
        )
        scores = {name: agreement(d, measured) for name, d in found.items()}
        print("| ranking | correlation | ahead of pixels | of mean image | of classes | nearest − random, points |")
        print("|---|---|---|---|---|---|")
        for name, values in scores.items():
            ahead = [values - scores[other] for other in ("pixels", "pixels, mean image", "classes")]
            cells = [
                shown(values),
                *(shown(a) if a.any() else "" for a in ahead),
                shown(100 * gain(found[name], measured)),
            ]
            print(f"| {name} | {' | '.join(cells)} |")
    warm = {name: value["scores"] for name, value in kept.read("warm").items()}
    if warm:
        drawn = np.array([np.mean([s[f"random {i}"] for i in range(3)]) for s in warm.values()])
        print(f"\nfine-tuned, warm-started; random source {shown(100 * drawn)}")
        for start in (BEST, "learned: task2vec", "pixels", "classes", "untrained"):
            values = np.array([s[start] for s in warm.values()])
            print(f"| {start} | {shown(100 * values)} | {shown(100 * (values - drawn))} |")
    for file in ("transfer", "distances", "warm"):
        print(f"{file}: {sum(v['seconds'] for v in kept.read(file).values()) / 60:.1f} CPU minutes")


def shown(values: np.ndarray) -> str:
    """Mean and 95 % bootstrap interval over the targets."""
    i = bootstrap_interval(values)
    return f"{i.mean:.2f} [{i.low:.2f}, {i.high:.2f}]"


def main() -> None:
    """Measure, then print tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(options.out)
    measure_transfer(kept)
    measure_distances(kept)
    fine_tune(kept)
    report(kept)


if __name__ == "__main__":
    main()
