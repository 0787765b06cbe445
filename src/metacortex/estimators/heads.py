"""Heads in closed form on feature vectors, with exact leave-one-out predictions.

With features z_i (several *views* of each example may be given), targets Y (one-hot minus 1/way, or values) and
D the mean squared distance between examples:

    ridge      f(z) = (z − m)ᵀ W + b,    W = Aᵀ (A Aᵀ / s + λ I)⁻¹ (Y − b) / s,   A = Z − m,  s = mean ‖a_i‖²
    kernel     f(z) = Σ_i k(z, z_i) α_i + b,   α = (K + λ I)⁻¹ (Y − b),   k(z, z') = exp(−γ ‖z − z'‖² / D)
    prototype  f(z)_c = −‖z − mean of class c‖² / D

Leaving example g with all its views out changes the prediction for it to Y_g − (Q_gg)⁻¹ α_g, Q = (K + λ I)⁻¹,
without fitting again (the block form of the leave-one-out identity of ridge regression). By these predictions a
head and its strength are chosen, and the temperature of the probabilities is fitted.

Reference: Snell, Swersky and Zemel (2017) for prototypes; Bertinetto et al., "Meta-learning with differentiable
closed-form solvers" (2019) for ridge regression on few examples; Cawley, "Leave-one-out cross-validation based
model selection criteria for weighted LS-SVMs" (2006) for the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HEADS",
    "ClassMeans",
    "Head",
    "HeadSpec",
    "candidates",
    "choose_head",
    "fit_head",
    "fit_temperature",
    "smoothed_loss",
    "softmax",
]

Array = NDArray[np.float64]
HeadKind = Literal["prototype", "ridge", "kernel"]
HEADS: tuple[str, ...] = ("auto", "prototype", "ridge", "kernel")
LARGEST_KERNEL = 2000
"""Rows from which no kernel matrix is made: the ridge is then solved by features."""


@dataclass(frozen=True)
class HeadSpec:
    """Which head, and its strength.

    Attributes:
        kind: see the module.
        penalty: λ; not of prototypes.
        gamma: γ; of the kernel alone.
    """

    kind: HeadKind
    penalty: float = 0.0
    gamma: float = 0.0

    def __str__(self) -> str:
        strength = {"prototype": "", "ridge": f", penalty {self.penalty:g}"}
        return self.kind + strength.get(self.kind, f", penalty {self.penalty:g}, gamma {self.gamma:g}")


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head: ``scores`` of ``[N, D]`` features.

    Attributes:
        spec: what was fitted.
        center: ``[D]``; subtracted from linear heads' features.
        anchors: ``[M, D]`` examples of the kernel, ``[0, D]`` for linear heads.
        weights: ``[D or M, outputs]``.
        bias: ``[outputs]``.
        rate: γ / D of the kernel, 0 for linear heads.
    """

    spec: HeadSpec
    center: Array
    anchors: Array
    weights: Array
    bias: Array
    rate: float

    def scores(self, features: Array) -> Array:
        """``[N, outputs]``."""
        if self.rate:
            return np.exp(-self.rate * squared_distances(features, self.anchors)) @ self.weights + self.bias
        return (features - self.center) @ self.weights + self.bias


def candidates(kind: str, rows: int) -> tuple[HeadSpec, ...]:
    """Heads to choose from, the default first.

    Args:
        kind: one of `HEADS`.
        rows: examples times views.
    """
    ridges = tuple(HeadSpec("ridge", penalty) for penalty in (1.0, 0.1, 10.0))
    kernels = tuple(HeadSpec("kernel", p, g) for g in (2.0, 0.5, 6.0) for p in (0.01, 0.1, 1.0))
    if kind == "prototype":
        return (HeadSpec("prototype"),)
    if kind == "ridge" or (kind == "auto" and rows > LARGEST_KERNEL):
        return ridges
    return kernels if kind == "kernel" else (*kernels, *ridges, HeadSpec("prototype"))


def squared_distances(a: Array, b: Array) -> Array:
    """``[N, M]`` from ``[N, D]`` and ``[M, D]``."""
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2.0 * a @ b.T, 0.0)


def fit_head(spec: HeadSpec, views: Array, values: Array) -> tuple[Head, Array]:
    """Fit one head.

    Args:
        spec: which.
        views: ``[V, N, D]``; view 0 is the example as it is.
        values: ``[N, outputs]``; for prototypes one-hot minus a constant.

    Returns:
        The head, and what it says of each example when that was left out, ``[N, outputs]``.
    """
    if spec.kind == "prototype":
        return _prototypes(spec, views, values)
    count = len(values)
    flat = views.reshape(-1, views.shape[-1])  # [V*N, D]
    bias = values.mean(0)
    targets = np.tile(values - bias, (len(views), 1))  # [V*N, outputs]
    if len(flat) > LARGEST_KERNEL:
        return _primal_ridge(spec, flat, targets, bias, count)
    center = flat.mean(0)
    if spec.kind == "ridge":
        centred = flat - center
        scale = max(float((centred * centred).sum(1).mean()), 1e-12)
        gram = centred @ centred.T / scale
        rate = 0.0
    else:
        apart = squared_distances(views[0], views[0])
        rate = spec.gamma / max(float(apart.sum() / max(count * (count - 1), 1)), 1e-12)
        gram = np.exp(-rate * squared_distances(flat, flat))
        centred, scale = flat, 1.0
    inverse = np.asarray(np.linalg.inv(gram + spec.penalty * np.eye(len(gram))), dtype=np.float64)
    dual = np.asarray(inverse @ targets, dtype=np.float64)
    left_out = _left_out(inverse, dual, targets, len(views), count) + bias
    if rate:
        return Head(spec, np.zeros_like(center), flat, dual, bias, rate), left_out
    weights = np.asarray(centred.T @ dual / scale, dtype=np.float64)
    return Head(spec, center, flat[:0], weights, bias, 0.0), left_out


def _left_out(inverse: Array, dual: Array, targets: Array, views: int, count: int) -> Array:
    """Predictions of view 0 of each example without any of its views, ``[N, outputs]``."""
    rows = np.arange(views)[None, :] * count + np.arange(count)[:, None]  # [N, V]: the rows of each example
    blocks = inverse[rows[:, :, None], rows[:, None, :]]  # [N, V, V]
    residuals = np.linalg.solve(blocks, dual[rows])  # [N, V, outputs]
    return targets[:count] - residuals[:, 0]


def _primal_ridge(spec: HeadSpec, flat: Array, targets: Array, bias: Array, count: int) -> tuple[Head, Array]:
    center = flat.mean(0)
    centred = flat - center
    scale = max(float((centred * centred).sum(1).mean()), 1e-12)
    inverse = np.linalg.inv(centred.T @ centred / scale + spec.penalty * np.eye(flat.shape[1])) / scale
    weights = inverse @ centred.T @ targets
    leverage = ((centred @ inverse) * centred).sum(1, keepdims=True)
    left_out = (centred @ weights - leverage * targets) / np.maximum(1.0 - leverage, 1e-9)
    return Head(spec, center, flat[:0], weights, bias, 0.0), left_out[:count] + bias


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """What a prototype head is made of.

    Attributes:
        prototypes: ``[way, D]``.
        slots: the class of each example, ``[N]``.
        rest: the prototype of its class without each example, ``[N, D]``; with it, where it is the only one.
        scale: D, the mean squared distance of prototypes.
    """

    prototypes: Array
    slots: NDArray[np.int64]
    rest: Array
    scale: float

    @staticmethod
    def learn(views: Array, values: Array) -> ClassMeans:
        """From ``[V, N, D]`` and ``[N, way]``, one-hot minus a constant."""
        members = (values > values.min()).astype(np.float64)  # [N, way]
        means_of_views, slots = views.mean(0), members.argmax(1)
        prototypes = members.T @ means_of_views / np.maximum(members.sum(0), 1)[:, None]
        count = members.sum(0)[slots, None]  # [N, 1]
        rest = (count * prototypes[slots] - means_of_views) / np.maximum(count - 1, 1)
        apart = squared_distances(prototypes, prototypes)
        scale = max(float(apart.sum() / max(len(apart) * (len(apart) - 1), 1)), 1e-12)
        return ClassMeans(prototypes, slots, np.where(count > 1, rest, prototypes[slots]), scale)


def _prototypes(spec: HeadSpec, views: Array, values: Array) -> tuple[Head, Array]:
    means = ClassMeans.learn(views, values)
    weights = 2.0 * means.prototypes.T / means.scale
    bias = -(means.prototypes * means.prototypes).sum(1) / means.scale
    head = Head(spec, np.zeros(views.shape[-1]), views[0][:0], weights, bias, 0.0)
    left_out, rest = head.scores(views[0]), means.rest
    left_out[np.arange(len(rest)), means.slots] = (2.0 * (views[0] * rest).sum(1) - (rest * rest).sum(1)) / means.scale
    return head, left_out


def choose_head(
    specs: Sequence[HeadSpec], views: Array, targets: NDArray[np.int64], way: int, temperature: float
) -> tuple[Head, float, Array]:
    """The classifier with the lowest leave-one-out loss.

    Args:
        specs: to choose from; the first is taken where no class has two examples.
        views: ``[V, N, D]``.
        targets: ``[N]`` class slots.
        way: number of classes.
        temperature: where none can be fitted.

    Returns:
        The head, its temperature, and its left-out scores ``[N, way]``, NaN for an only example of a class.
    """
    values = np.eye(way)[targets] - 1.0 / way
    counted = np.bincount(targets, minlength=way)[targets] > 1  # [N]
    best: tuple[float, Head, float, Array] | None = None
    for spec in specs if counted.any() else specs[:1]:
        head, left_out = fit_head(spec, views, values)
        left_out[~counted] = np.nan
        fitted, loss = temperature, np.inf
        if counted.any():
            fitted, loss = fit_temperature(left_out[counted], targets[counted])
        if best is None or loss < best[0] - 1e-9:
            best = (loss, head, fitted, left_out)
    assert best is not None
    return best[1:]


def softmax(logits: Array) -> Array:
    """Rows of ``[N, way]`` as probabilities."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def smoothed_loss(logits: Array, targets: NDArray[np.int64]) -> float:
    """Mean cross-entropy in which each answer counts as right with probability 1 − 1/(N + 2) only.

    By Laplace's rule of succession that is what N right answers in a row allow to be said; without it, a few
    examples that happen to be right would be worth certainty.
    """
    log_p = logits - logits.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    doubt = 1.0 / (len(targets) + 2)
    return float(-((1 - doubt) * log_p[np.arange(len(targets)), targets] + doubt * log_p.mean(1)).mean())


def fit_temperature(logits: Array, targets: NDArray[np.int64]) -> tuple[float, float]:
    """The T in [0.001, 100] for which softmax(logits / T) has the lowest `smoothed_loss`, and that loss.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, §4.2.
    """
    grid = np.exp(np.linspace(np.log(1e-3), np.log(100.0), 40))
    losses = [smoothed_loss(logits / t, targets) for t in grid]
    near = int(np.argmin(losses))
    fine = np.exp(np.linspace(np.log(grid[max(near - 1, 0)]), np.log(grid[min(near + 1, len(grid) - 1)]), 15))
    losses = [smoothed_loss(logits / t, targets) for t in fine]
    return float(fine[int(np.argmin(losses))]), float(min(losses))
