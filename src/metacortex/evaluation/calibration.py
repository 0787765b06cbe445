"""When is an input none of a task's classes, and how sure should probabilities be?

Both are learned from tasks of meta-training or validation classes and kept with the run, so that
a skill taught by a user knows them without a single example of "something else".

The score of an input is its distance to the nearest class mean in embedding space, divided by the
mean distance between the means of different classes of the task: 0 is on a class, 1 as far as the
classes are from each other. Inputs above the threshold are none of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.engine.devices import device_of, random_devices
from metacortex.errors import DataError, LearnerError, RunError
from metacortex.nn.mode import evaluating
from metacortex.task import Examples
from metacortex.tasks.episodes import Episodes, EpisodeSpec
from metacortex.tasks.placed import place

if TYPE_CHECKING:
    from metacortex.data.view import ClassView
    from metacortex.learners.base import Learner

__all__ = ["CALIBRATION_VERSION", "Calibration", "calibrate", "class_scale", "fit_temperature", "novelty_scores"]

CALIBRATION_VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """What was learned about distances and probabilities; saved as ``calibration.json``.

    Attributes:
        threshold: scores above it are "none of these"; accepts `accept` of in-class queries.
        accept: the share of in-class queries that it accepts.
        false_accept: share of queries of other classes that it accepts, measured.
        scale: mean over the tasks of the distance between class means, for a task of one class.
        temperature: logits are divided by it before the softmax.
        quantiles: share of in-class queries accepted -> threshold, to choose another one.
        metric: distance between embeddings, ``"euclid"`` or ``"cosine"``.
        way: classes of the calibration tasks.
        shot: support examples per class.
        tasks: number of calibration tasks.
        split: classes they were drawn from.
        norm: norm policy of the learner, if it has one.
        version: of this format.
    """

    threshold: float
    accept: float
    false_accept: float
    scale: float
    temperature: float
    quantiles: Mapping[str, float]
    metric: str
    way: int
    shot: int
    tasks: int
    split: str
    norm: str | None = None
    version: int = CALIBRATION_VERSION

    def to_json(self) -> dict[str, Any]:
        """The object that is saved."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` gave.

        Raises:
            RunError: if it is damaged or a newer metacortex wrote it.
        """
        try:
            if content["version"] > CALIBRATION_VERSION:
                raise RunError(
                    f"the calibration has version {content['version']}, this metacortex knows up to "
                    f"{CALIBRATION_VERSION}: update metacortex"
                )
            return Calibration(**{f.name: content[f.name] for f in fields(Calibration)})
        except (KeyError, TypeError) as error:
            raise RunError(f"the calibration is damaged: {error!r}; train with --resume to make it again") from error


def _distances(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """``[N, M]`` distances between the rows of ``[N, D]`` and ``[M, D]``."""
    if metric == "cosine":
        return 1.0 - F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    # The exact formula: near-equal rows matter here, and the matrix-product one loses their digits.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _class_means(embeddings: Tensor, targets: Tensor) -> Tensor:
    """``[classes present, D]`` means, in the order of the labels."""
    return torch.stack([embeddings[targets == c].mean(0) for c in targets.unique().tolist()])


def class_scale(support: Tensor, targets: Tensor, metric: str = "euclid") -> float | None:
    """Mean distance between the means of different classes; ``None`` for a single class.

    Args:
        support: embeddings ``[N, D]`` of the support examples.
        targets: ``[N]`` int64.
        metric: ``"euclid"`` or ``"cosine"``.
    """
    means = _class_means(support, targets)
    if len(means) < 2:
        return None
    apart = _distances(means, means, metric)
    return float(apart.sum() / (len(means) * (len(means) - 1)))


def novelty_scores(
    support: Tensor, targets: Tensor, queries: Tensor, metric: str = "euclid", scale: float | None = None
) -> Tensor:
    """How far inputs are from all classes of a task: compare with `Calibration.threshold`.

    score(x) = min_c d(x, mean_c) / scale

    Args:
        support: embeddings ``[N, D]`` of the support examples.
        targets: ``[N]`` int64 class slots.
        queries: embeddings ``[M, D]``.
        metric: ``"euclid"`` or ``"cosine"``.
        scale: used for a task of one class, where distances between classes do not exist;
            see `Calibration.scale`.

    Returns:
        ``[M]`` scores, at least 0.
    """
    means = _class_means(support, targets)
    own = class_scale(support, targets, metric)
    unit = max(own if own is not None else (scale or 1.0), 1e-12)
    return _distances(queries, means, metric).amin(-1).clamp_min(0) / unit


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The T for which softmax(logits / T) has the lowest mean cross-entropy.

    The loss is convex in 1/T; a golden-section search over log T in [0.01, 100] finds it.

    Args:
        logits: ``[N, way]``.
        targets: ``[N]`` int64.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, §4.2.
    """
    values = logits.double()

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(values / math.exp(log_t), targets))

    low, high = math.log(0.01), math.log(100.0)
    ratio = (math.sqrt(5.0) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _halves(support: Examples, query: Examples, way: int) -> tuple[Examples, Examples, Any]:
    """A task of the first ``way`` classes, and the queries of the others."""
    inside, known = support.targets < way, query.targets < way
    classes = torch.ones(way, dtype=torch.bool, device=support.targets.device)
    return (
        Examples(support.inputs[inside], support.targets[inside], classes=classes),
        Examples(query.inputs[known], query.targets[known], classes=classes),
        query.inputs[~known],
    )


def calibrate(
    learner: Learner,
    view: ClassView,
    *,
    way: int = 5,
    shot: int = 1,
    queries: int = 5,
    tasks: int = 50,
    seed: int = 0,
    split: str = "val",
    accept: float = 0.95,
) -> Calibration:
    """Learn threshold and temperature from tasks of classes that are not test classes.

    Args:
        learner: is put into evaluation mode meanwhile; nothing of it changes.
        view: classes to draw tasks and strangers from; at least three.
        way: classes of a task; lowered when the view is too small for as many strangers.
        shot: support examples per class.
        queries: queries per class.
        tasks: how many.
        seed: of the tasks.
        split: name of the view.
        accept: share of in-class queries that the threshold accepts.

    Raises:
        DataError: if there are fewer than three classes.
        LearnerError: if the learner diverges while it adapts.
    """
    if len(view) < 3:
        raise DataError(f"a calibration needs at least 3 classes, split '{split}' has {len(view)}")
    way = min(way, max(2, len(view) // 2))
    drawn = min(2 * way, len(view))
    device = device_of(learner)
    episodes = place(Episodes(view, EpisodeSpec(drawn, shot, queries), seed=seed, split=f"{split}/calibration"), device)
    metric = "cosine" if getattr(learner, "distance", "euclid") == "cosine" else "euclid"
    inside, outside, scales, logits, targets = [], [], [], [], []
    with evaluating(learner), torch.no_grad(), torch.random.fork_rng(devices=random_devices(device)):
        torch.manual_seed(seed)
        for index in range(tasks):
            task = episodes.task(index)
            support, known, strangers = _halves(task.support, task.query, way)
            state = learner.adapt(support)
            taught = learner.embed(state, support.inputs)
            inside.append(novelty_scores(taught, support.targets, learner.embed(state, known.inputs), metric))
            outside.append(novelty_scores(taught, support.targets, learner.embed(state, strangers), metric))
            scales.append(class_scale(taught, support.targets, metric) or 0.0)
            logits.append(learner.predict(state, known.inputs))
            targets.append(known.targets)
    scores = torch.cat(inside).double()
    if not bool(scores.isfinite().all()) or bool(torch.cat(logits).isnan().any()):
        raise LearnerError(
            f"'{learner.name}' diverges while it adapts to tasks of split '{split}': adapt with a lower rate "
            "(inner_lr, tune_lr) or in fewer steps"
        )
    levels = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    threshold = float(scores.quantile(accept))
    return Calibration(
        threshold=threshold,
        accept=accept,
        false_accept=float((torch.cat(outside) <= threshold).double().mean()),
        scale=sum(scales) / len(scales),
        temperature=fit_temperature(torch.cat(logits), torch.cat(targets)),
        quantiles={str(level): float(scores.quantile(level)) for level in levels},
        metric=metric,
        way=way,
        shot=shot,
        tasks=tasks,
        split=split,
        norm=getattr(getattr(learner, "body", None), "norm", None),
    )
