"""Which unlabelled examples to label next.

With few labels the gravest mistakes are made in regions of the pool that no label speaks for. So the next example
is the one that brings the most probability of error near to a label:

    gain(x) = Σ_u (1 − max_c p(c | u)) · max(0, d(u, labelled) − d(u, x))

over all u of the pool, d the distance of their features. Examples are chosen one after the other, each counted as
labelled for the next, so that a batch does not hold the same thing twice. (Facility location is submodular: the
greedy choice is within 1 − 1/e of the best.)

Reference: Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and Active Learning", 2015; on few labels,
Hacohen, Dekel and Weinshall, "Active Learning on a Budget", 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import SettingsError
from metacortex.estimators.heads import softmax, squared_distances

if TYPE_CHECKING:
    from metacortex.estimators.classifier import FewShotClassifier

__all__ = ["suggest"]

_LARGEST = 3000
"""Members of the pool that are weighed against each other; of a larger one, the most uncertain."""


def suggest(classifier: FewShotClassifier, pool: Any, count: int = 1) -> NDArray[np.int64]:
    """Rows of a pool that are worth a label, the most useful first.

    Args:
        classifier: fitted.
        pool: unlabelled examples, as the X of `fit`.
        count: how many.

    Raises:
        SettingsError: if the pool holds fewer than `count`, or count is below 1.
    """
    inputs = classifier._read(pool)
    if not 1 <= count <= len(inputs):
        raise SettingsError(f"count must lie between 1 and the size of the pool, {len(inputs)}; got {count}")
    unsure = 1.0 - softmax(classifier.adapted_.logits(inputs)).max(1)
    rows = np.argsort(-unsure, kind="stable")[: max(_LARGEST, count)]
    features, weight = classifier.adapted_.embed(inputs)[rows], unsure[rows] + 1e-6
    apart = np.sqrt(squared_distances(features, features))  # [M, M]
    nearest = np.sqrt(squared_distances(features, classifier.support_features_)).min(1)
    chosen: list[int] = []
    for _ in range(count):
        gain = weight @ np.maximum(nearest[:, None] - apart, 0.0)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        nearest = np.minimum(nearest, apart[best])
    return rows[chosen]
