"""When an input is none of the classes: how far examples lie from their own class when it is known without them.

score(x) = min_c ‖z − mean_c‖ / mean distance between the means, as in `metacortex.evaluation.calibration`. The
scores of the support examples, each measured against the mean of the *others* of its class, tell what is usual;
their conformal quantile is the threshold.

Reference: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metacortex.estimators.heads import squared_distances

__all__ = ["Novelty", "learn_novelty"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Novelty:
    """How far is too far.

    Attributes:
        means: ``[way, D]`` of the classes.
        unit: mean distance between them.
        usual: ``[M]`` sorted scores of left-out examples, empty where no class has two.
        far: threshold where `usual` is empty.
    """

    means: Array
    unit: float
    usual: Array
    far: float

    def scores(self, embedded: Array) -> Array:
        """``[N]``, at least 0: 0 is on a class, 1 as far as the classes are from each other."""
        return np.sqrt(squared_distances(embedded, self.means).min(1)) / self.unit

    def threshold(self, accept: float) -> float:
        """Scores above it are none of the classes.

        Args:
            accept: share of inputs of the classes that shall be accepted, in (0, 1). Guaranteed on average
                only if there are at least 1 / (1 − accept) − 1 left-out examples; with fewer, it is the
                largest of their scores.
        """
        if not len(self.usual):
            return self.far
        rank = min(math.ceil((len(self.usual) + 1) * accept), len(self.usual))
        return float(self.usual[rank - 1])


def learn_novelty(embedded: Array, targets: NDArray[np.int64], way: int, far: float) -> Novelty:
    """From the support set.

    Args:
        embedded: ``[N, D]``.
        targets: ``[N]`` class slots, none of them without examples.
        way: number of classes.
        far: threshold where no class has two examples.
    """
    members = np.eye(way)[targets]  # [N, way]
    count = members.sum(0)
    means = members.T @ embedded / count[:, None]
    apart = np.sqrt(squared_distances(means, means))
    unit = max(float(apart.sum() / max(way * (way - 1), 1)), 1e-12)
    distances = np.sqrt(squared_distances(embedded, means))  # [N, way]
    several = count[targets] > 1
    rows = np.flatnonzero(several)
    # Without the example itself its class's mean lies n / (n − 1) times as far from it.
    distances[rows, targets[rows]] *= (count / np.maximum(count - 1, 1))[targets[rows]]
    return Novelty(means, unit, np.sort(distances[several].min(1)) / unit, far)
