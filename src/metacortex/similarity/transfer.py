"""Measured transfer: how well a network trained on one task alone serves another, from a few examples.

It is what a distance between tasks should foretell, and what `metacortex.similarity.learned` learns from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from metacortex.errors import DataError, SettingsError
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.similarity.examples import only_classes
from metacortex.task import Examples
from metacortex.tasks.random import choose, fold, root_key

__all__ = [
    "TransferSettings",
    "body_features",
    "draw_few_shot",
    "fine_tuned_accuracy",
    "nearest_mean_accuracy",
    "new_body",
    "train_body",
    "transfer_matrix",
]

_CHUNK = 1024
"""Images embedded at once: bounds memory, changes no answer."""
SCALE = 10.0
"""What cosines are multiplied by."""


@dataclass(frozen=True)
class TransferSettings:
    """How transfer is measured.

    Attributes:
        widths: filters of the network, block by block.
        steps: of training on the source.
        batch_size: examples of each.
        lr: learning rate of Adam, annealed to zero by a cosine.
        shift: pixels by which training images are moved at most.
        classes: classes of the source that are learned, drawn at random; 0: all.
        way: classes of a few-shot task of the target; fewer where it has fewer.
        shot: examples per class to learn from.
        queries: examples per class to be judged on.
        tasks: few-shot tasks of each target, the same for every source.
        seed: of the initial weights, the batches and the tasks.
    """

    widths: tuple[int, ...] = (8, 16, 32, 32)
    steps: int = 150
    batch_size: int = 48
    lr: float = 5e-3
    shift: int = 3
    classes: int = 0
    way: int = 20
    shot: int = 5
    queries: int = 5
    tasks: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "shot", "queries", "tasks"):
            if getattr(self, name) < 1:
                raise SettingsError(f"transfer: {name} must be at least 1, got {getattr(self, name)}")
        if self.way < 2 or self.classes == 1 or self.classes < 0:
            raise SettingsError(f"transfer: expected 2 classes or more, got way={self.way}, classes={self.classes}")


def new_body(source: Examples, settings: TransferSettings) -> Conv4:
    """The untrained network for inputs like these: the same initial weights for every source."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return _network(source, settings)


def _network(source: Examples, settings: TransferSettings) -> Conv4:
    shape = tuple(source.inputs.shape[1:])
    return Conv4(shape, Conv4Settings(widths=settings.widths, reduction="stride", norm="group"))


def train_body(source: Examples, settings: TransferSettings) -> nn.Module:
    """Train a small convolutional network as a classifier of one task, and return it without its head.

    The logits are 10 times the cosines of features and class vectors (as the nearest-mean classifier will compare);
    the images of a batch are moved by a few pixels, the same for all.

    Args:
        source: images ``[N, C, H, W']`` in 0–1 with their classes.
        settings: network and training.

    Returns:
        A `Conv4` with strides and group norm, which treats each image for itself; in evaluation mode.
    """
    learned = only_classes(source, settings.classes, settings.seed) if settings.classes else source
    inputs, targets = learned.inputs, learned.targets
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        body = _network(source, settings)
        classes = nn.Parameter(torch.randn(learned.way, body.features))
    optimizer = torch.optim.Adam([*body.parameters(), classes], lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.steps):
        rows = torch.from_numpy(rng.integers(0, len(targets), settings.batch_size))
        shift = rng.integers(-settings.shift, settings.shift + 1, 2).tolist()
        features = body(torch.roll(inputs[rows], shift, (2, 3)))
        loss = F.cross_entropy(SCALE * F.normalize(features, dim=1) @ F.normalize(classes, dim=1).T, targets[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return body.eval().requires_grad_(False)


def body_features(body: nn.Module, inputs: Tensor) -> Tensor:
    """Features ``[N, D]`` of images, without a graph."""
    with torch.no_grad():
        return torch.cat([body(part) for part in inputs.split(_CHUNK)])


def draw_few_shot(targets: Tensor, settings: TransferSettings) -> Tensor:
    """Rows of the few-shot tasks of one labelled set, a function of the seed.

    Args:
        targets: ``[N]`` classes.
        settings: size, number and seed of the tasks.

    Returns:
        ``[tasks, way, shot + queries]`` int64: those to learn from first.

    Raises:
        DataError: if there are fewer than two classes with enough examples.
    """
    needed = settings.shot + settings.queries
    rows = [torch.nonzero(targets == slot)[:, 0] for slot in range(int(targets.max()) + 1)]
    members = [r for r in rows if len(r) >= needed]
    if len(members) < 2:
        raise DataError(
            f"measuring transfer needs two classes or more with {needed} examples, got {len(members)}: lower shot or "
            "queries, or give more examples"
        )
    way = min(settings.way, len(members))
    keys = fold(root_key(settings.seed, "transfer"), np.arange(settings.tasks))
    slots = choose(keys, len(members), way)  # [tasks, way]
    sizes = np.array([len(m) for m in members])
    each = fold(keys[:, None], np.arange(1, way + 1))  # [tasks, way]
    places = choose(each.reshape(-1), sizes[slots.reshape(-1)], needed)  # [tasks * way, needed]
    drawn = [members[s][torch.from_numpy(p)] for s, p in zip(slots.reshape(-1), places, strict=True)]
    return torch.stack(drawn).reshape(settings.tasks, way, needed)


def nearest_mean_accuracy(features: Tensor, rows: Tensor, shot: int) -> float:
    """Few-shot accuracy by the nearest class mean (cosine).

    Args:
        features: ``[N, D]``.
        rows: ``[tasks, way, shot + queries]``, see `draw_few_shot`.
        shot: how many of each class are learned from.

    Returns:
        Accuracy in 0–1.

    Example:
        >>> nearest_mean_accuracy(torch.eye(2).repeat(2, 1), torch.tensor([[[0, 2], [1, 3]]]), 1)
        1.0
    """
    drawn = F.normalize(features, dim=1)[rows]  # [tasks, way, shot + queries, D]
    means = F.normalize(drawn[:, :, :shot].mean(2), dim=-1)
    answers = torch.einsum("tcqd,tkd->tcqk", drawn[:, :, shot:], means).argmax(-1)  # [tasks, way, queries]
    return float((answers == torch.arange(rows.shape[1])[:, None]).double().mean())


def fine_tuned_accuracy(
    body: nn.Module, target: Examples, settings: TransferSettings, *, steps: int = 20, lr: float = 0.1
) -> float:
    """Few-shot accuracy after gradient descent on the whole network, warm-started from a body.

    The head begins as the nearest-mean classifier (class means of unit features times 10), so that nothing is lost
    before the first step.

    Args:
        body: where to start; it is copied.
        target: images with their classes.
        settings: size, number and seed of the tasks.
        steps: of gradient descent on all support examples.
        lr: learning rate.

    Returns:
        Accuracy in 0–1.
    """
    rows = draw_few_shot(target.targets, settings)
    labels, right = torch.arange(rows.shape[1]), 0.0
    for task in rows:
        support, queries = task[:, : settings.shot], task[:, settings.shot :]
        weights = {name: p.detach().clone() for name, p in body.named_parameters()}
        z = _unit_features(body, weights, target.inputs[support.flatten()])
        weights["head"] = SCALE * F.normalize(z.reshape(*support.shape, -1).mean(1), dim=1).detach()
        right += _descended(
            body,
            weights,
            (target.inputs[support.flatten()], labels.repeat_interleave(support.shape[1])),
            (target.inputs[queries.flatten()], labels.repeat_interleave(queries.shape[1])),
            steps,
            lr,
        )
    return right / len(rows)


def transfer_matrix(
    sources: Mapping[str, Examples],
    targets: Mapping[str, Examples],
    settings: TransferSettings | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Train on each source, judge on each target.

    Args:
        sources: tasks by name.
        targets: tasks by name.
        settings: how.
        progress: called with (sources done, sources).

    Returns:
        ``[sources, targets]`` accuracies in 0–1; NaN where a target is the source itself (the same name).
    """
    how = settings or TransferSettings()
    found = np.full((len(sources), len(targets)), np.nan)
    for i, (name, source) in enumerate(sources.items()):
        body = train_body(source, how)
        for j, (other, target) in enumerate(targets.items()):
            if other != name:
                features = body_features(body, target.inputs)
                found[i, j] = nearest_mean_accuracy(features, draw_few_shot(target.targets, how), how.shot)
        if progress is not None:
            progress(i + 1, len(sources))
    return found


def _unit_features(body: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    own = {name: value for name, value in weights.items() if name != "head"}
    return F.normalize(torch.func.functional_call(body, own, (inputs,)), dim=1)


def _descended(
    body: nn.Module,
    weights: dict[str, Tensor],
    support: tuple[Tensor, Tensor],
    query: tuple[Tensor, Tensor],
    steps: int,
    lr: float,
) -> float:
    for _ in range(steps):
        live = {name: value.detach().requires_grad_() for name, value in weights.items()}
        loss = F.cross_entropy(_unit_features(body, live, support[0]) @ live["head"].T, support[1])
        slopes = torch.autograd.grad(loss, list(live.values()))
        weights = {n: v.detach() - lr * g for (n, v), g in zip(live.items(), slopes, strict=True)}
    with torch.no_grad():
        answers = (_unit_features(body, weights, query[0]) @ weights["head"].T).argmax(1)
    return float((answers == query[1]).float().mean())
