"""What a closed-form head would have said without each of its examples, without fitting again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metacortex.estimators.heads import LARGEST_KERNEL, ClassMeans, Head, fit_head, squared_distances

__all__ = ["head_influences", "left_out_scores", "value_weights"]

Array = NDArray[np.float64]
Loose = NDArray[Any]
Rows = NDArray[np.int64]


def head_influences(
    head: Head, temperature: float, views: Array, targets: NDArray[np.int64], way: int, query: Array
) -> Array:
    """How much each example adds to the log-probability of the answer, by leaving it out.

        I_i = log p(c | q, S) − log p(c | q, S \\ {i})

    A class goes with its only example; an answer that thereby becomes impossible counts as one chosen by lot.

    Args:
        head: fitted to these examples.
        temperature: scores are divided by it.
        views: ``[V, N, D]``.
        targets: ``[N]`` class slots.
        way: number of classes.
        query: ``[Q, D]``; the answer that is explained is the head's own.

    Returns:
        ``[Q, N]``.
    """
    full = _log_softmax(head.scores(query) / temperature)  # [Q, way]
    values = np.eye(way)[targets] - 1.0 / way
    rest = left_out_scores(head, views, values, query) / temperature  # [Q, N, way]
    only = np.bincount(targets, minlength=way)[targets] == 1
    rest[:, only, targets[only]] = -np.inf
    asked, slots = np.arange(len(query)), full.argmax(1)
    left = _log_softmax(rest)[asked, :, slots]  # [Q, N]
    left[only & (targets == slots[:, None])] = -np.log(way)
    return full[asked, slots][:, None] - left


def left_out_scores(head: Head, views: Array, values: Array, query: Array) -> Array:
    """Scores of queries by the head fitted without each example in turn; its unit of distance stays that of all.

    With Q = (K + λ I)⁻¹, α = Q Y and an example g (all its views), leaving it out of the dual solution gives

        f₋g(z) = f(z) − k(z, ·) Q_{·g} (Q_gg)⁻¹ α_g

    Ridge regression also chooses a bias, by the same with a row and a column of ones: Q − 1 1ᵀ / (n λ) of n rows, and
    k(z, ·) Q + 1ᵀ / n. With very many rows it is solved in its primal form, P = (Xᵀ X / s + λ I)⁻¹ / s:

        f₋g(z) = f(z) − (z P X_gᵀ + 1ᵀ / n) (I − X_g P X_gᵀ − 1 1ᵀ / n)⁻¹ (Y_g − f(X_g))

    The bias of a kernel, the mean of the values, goes over to that of the other examples, and a prototype to the mean
    of the others of its class.

    Args:
        head: fitted to these.
        views: ``[V, N, D]``.
        values: ``[N, outputs]``.
        query: ``[Q, D]``.

    Returns:
        ``[Q, N, outputs]``; of an only example, the bias.
    """
    count, flat = views.shape[1], views.reshape(-1, views.shape[-1])  # [V*N, D]
    full = head.scores(query)[:, None]  # [Q, 1, outputs]
    if count == 1:
        return np.zeros_like(full) + head.bias
    if head.spec.kind == "prototype":
        return _left_prototypes(head, ClassMeans.learn(views, values), query)
    rows = np.arange(len(views))[None, :] * count + np.arange(count)[:, None]  # [N, V]: the rows of each example
    targets = np.tile(values - values.mean(0), (len(views), 1))
    if head.rate:
        return _left_kernel(head, flat, targets, query, rows)
    form = _primal if len(flat) > LARGEST_KERNEL else _dual
    return full - _shares(*form(head, flat, targets, query, rows), rows)


def _left_prototypes(head: Head, means: ClassMeans, query: Array) -> Array:
    count, rest = len(means.slots), means.rest
    left = np.repeat(head.scores(query)[:, None], count, 1)  # [Q, N, way]
    left[:, np.arange(count), means.slots] = (2.0 * query @ rest.T - (rest * rest).sum(1)) / means.scale
    return left


def _left_kernel(head: Head, flat: Array, targets: Array, query: Array, rows: Rows) -> Array:
    """The solution is linear in its targets: that for the values minus the old bias, and that for ones."""
    count = len(rows)
    both = np.concatenate([targets, np.ones((len(flat), 1))], 1)
    gram = np.exp(-head.rate * squared_distances(flat, flat))
    near = np.exp(-head.rate * squared_distances(query, flat))
    inverse = np.asarray(np.linalg.inv(gram + head.spec.penalty * np.eye(len(gram))), dtype=np.float64)
    dual = np.asarray(inverse @ both, dtype=np.float64)
    blocks = inverse[rows[:, :, None], rows[:, None, :]]
    left = (near @ dual)[:, None] - _shares(near @ inverse, blocks, dual[rows], rows)
    moved = -targets[:count] / (count - 1)  # [N, outputs]: the bias without the example, minus that with it
    return head.bias + left[..., :-1] + moved * (1.0 - left[..., -1:])


def _shares(reach: Loose, blocks: Loose, residuals: Loose, rows: Rows) -> Array:
    """What each example with all its views adds to the scores, ``[Q, N, outputs]``."""
    return np.einsum("qnv,nvo->qno", reach[:, rows], np.linalg.solve(blocks, residuals))


def value_weights(head: Head, views: Array, query: Array) -> Array:
    """With which weights a head that is linear in its targets sums them for each query, ``[Q, N]``.

    Args:
        head: kernel or ridge.
        views: ``[V, N, D]`` that it was fitted to.
        query: ``[Q, D]``.
    """
    return fit_head(head.spec, views, np.eye(views.shape[1]))[0].scores(query)


def _dual(head: Head, flat: Array, targets: Array, query: Array, rows: Rows) -> tuple[Loose, Loose, Loose]:
    """k(z, ·) Q ``[Q, V*N]``, Q_gg ``[N, V, V]`` and α_g ``[N, V, outputs]``, with the row and column of the bias."""
    centred, scale = _centred(head, flat)
    gram, near = centred @ centred.T / scale, (query - head.center) @ centred.T / scale
    inverse = np.linalg.inv(gram + head.spec.penalty * np.eye(len(gram))) - 1.0 / (len(gram) * head.spec.penalty)
    return near @ inverse + 1.0 / len(gram), inverse[rows[:, :, None], rows[:, None, :]], (inverse @ targets)[rows]


def _primal(head: Head, flat: Array, targets: Array, query: Array, rows: Rows) -> tuple[Loose, Loose, Loose]:
    """z P Xᵀ ``[Q, V*N]``, I − X_g P X_gᵀ ``[N, V, V]`` and Y_g − X_g W ``[N, V, outputs]``, each with the bias."""
    centred, scale = _centred(head, flat)
    size = flat.shape[1]
    passed = centred @ np.linalg.inv(centred.T @ centred / scale + head.spec.penalty * np.eye(size)) / scale  # X P
    blocks = np.eye(rows.shape[1]) - passed[rows] @ centred[rows].transpose(0, 2, 1) - 1.0 / len(flat)
    reach = (query - head.center) @ passed.T + 1.0 / len(flat)
    return reach, blocks, (targets - centred @ head.weights)[rows]


def _centred(head: Head, flat: Array) -> tuple[Array, float]:
    centred = flat - head.center
    return centred, max(float((centred * centred).sum(1).mean()), 1e-12)


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
