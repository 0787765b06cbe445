"""Optimal transport between labelled sets: examples are moved at the price of their features and of their labels.

    OTDD²(A, B) = min over couplings π of Σ_ij π_ij ( ‖x_i − x'_j‖² + W₂²(N_{y_i}, N_{y'_j}) )

A label stands for the Gaussian N_y of its examples' features; two Gaussians are at the Bures–Wasserstein distance,

    W₂²(N, N') = ‖m − m'‖² + tr S + tr S' − 2 tr (S^½ S' S^½)^½

With centred examples as rows, S = XᵀX, the last trace is the sum of the singular values of X X'ᵀ: no matrix larger than
the number of examples per class is needed. Every example has the same mass. The transport problem is solved exactly.

Reference: Alvarez-Melis and Fusi, "Geometric Dataset Distances via Optimal Transport", NeurIPS 2020, the section
"Optimal Transport between Labeled Datasets" and its Gaussian approximation; solver: POT (Flamary et al., JMLR 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.errors import MissingExtraError
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.examples import only_shots
from metacortex.task import Examples

__all__ = ["OTDD", "LabelledCloud", "label_distances", "labelled_transport"]


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """What OTDD keeps of a task.

    Attributes:
        points: ``[N, D]`` float64.
        labels: ``[N]`` index into the classes below.
        means: ``[classes, D]``.
        spreads: centred examples / √count of each class, ``[classes, most, D]``, padded with zero rows.
    """

    points: Tensor
    labels: Tensor
    means: Tensor
    spreads: Tensor


class OTDD(TaskDistance):
    """See the module.

    Args:
        features: what the ground distance is taken in, ``[N, ...]`` to ``[N, D]``, e.g. a
            `metacortex.similarity.probe.Probe`; raw inputs when not given.
        most: examples of each class at most, the first ones; 0: all.
    """

    name: ClassVar[str] = "otdd"

    def __init__(self, features: Callable[[Tensor], Tensor] | None = None, *, most: int = 10) -> None:
        _solver()
        self.features, self.most = features, most

    def embed(self, task: Examples) -> LabelledCloud:
        """Points, labels and Gaussians of the classes that have examples."""
        kept = only_shots(task, self.most) if self.most else task
        inputs = kept.inputs if self.features is None else self.features(kept.inputs)
        points = inputs.flatten(1).double()
        classes, labels = kept.targets.unique(return_inverse=True)
        groups = [points[labels == slot] for slot in range(len(classes))]
        means = torch.stack([g.mean(0) for g in groups])
        spreads = torch.zeros(len(groups), max(map(len, groups)), points.shape[1], dtype=points.dtype)
        for slot, group in enumerate(groups):
            spreads[slot, : len(group)] = (group - means[slot]) / len(group) ** 0.5
        return LabelledCloud(points, labels, means, spreads)

    def distance(self, known: LabelledCloud, new: LabelledCloud) -> float:
        """OTDD, not negative."""
        return labelled_transport(known, new)[0]


def label_distances(a: LabelledCloud, b: LabelledCloud) -> Tensor:
    """Squared distances W₂² of the classes' Gaussians, ``[classes of a, classes of b]``."""
    apart = torch.cdist(a.means, b.means, compute_mode="donot_use_mm_for_euclid_dist").square()
    traces = a.spreads.square().sum((1, 2))[:, None] + b.spreads.square().sum((1, 2))
    cross = torch.einsum("ixd,jyd->ijxy", a.spreads, b.spreads)
    return (apart + traces - 2 * torch.linalg.svdvals(cross).sum(-1)).clamp_min(0)


def labelled_transport(a: LabelledCloud, b: LabelledCloud) -> tuple[float, NDArray[np.float64]]:
    """OTDD and the coupling.

    Args:
        a: one task.
        b: another, with points of the same length.

    Returns:
        The distance and π ``[N of a, N of b]``, whose entries sum to 1.

    Raises:
        MissingExtraError: if POT is not installed.
    """
    price = torch.cdist(a.points, b.points, compute_mode="donot_use_mm_for_euclid_dist").square()
    price = price + label_distances(a, b)[a.labels][:, b.labels]
    masses = [np.full(n, 1.0 / n) for n in price.shape]
    coupling = np.asarray(_solver()(masses[0], masses[1], price.numpy(), numItermax=2_000_000), dtype=np.float64)
    return float(max((coupling * price.numpy()).sum(), 0.0)) ** 0.5, coupling


def _solver() -> Callable[..., NDArray[np.float64]]:
    try:
        from ot import emd
    except ImportError:
        raise MissingExtraError("optimal transport between tasks (measure otdd)", "similarity") from None
    return emd
