"""Task2Vec: a task is where a network's weights matter for it, the diagonal of their Fisher information.

    F = E_x E_{y ~ p(y|x)} [ (∂ log p(y|x) / ∂w)² ],   p(y|x) = softmax(Wᵀ g_w(x) + b)

g_w is the probe, the same for all tasks; W and b are fitted to the task. F is averaged over the weights of each
filter (each output of a layer) and divided by its mean over the filters of the layer; then λ, the precision of a
prior, is added. With d_cos = 1 − cosine,

    d_sym(A, B)  = d_cos( F_A / (F_A + F_B), F_B / (F_A + F_B) )
    d(A → B)     = d_sym(A, B) − α d_sym(A, 0),    F_0 = λ, a task on which no weight depends

The second term takes off how far a known task is from trivial; α is 0 unless asked for.

Reference: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto and Perona, "Task2Vec: Task Embedding for
Meta-Learning", ICCV 2019, "Task Embeddings via Fisher Information" and "Similarity Measures on the Space of Tasks".
Ours: F from gradients of single examples, instead of a variational estimate; each layer is divided by its mean, as its
size says how sure the head is more than what the task is about (on Omniglot's alphabets the ranking foretells transfer
better so, see docs/task-similarity.md). ``relative=False`` keeps the size; λ is then relative to the known tasks' mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from metacortex.errors import LearnerError, SettingsError
from metacortex.similarity.distance import TaskDistance
from metacortex.similarity.probe import Probe, fit_head
from metacortex.task import Examples
from metacortex.tasks.random import fold, permutation, root_key

__all__ = ["Task2Vec", "fisher_diagonal"]

Vector = NDArray[np.float64]
_CHUNK = 32
"""Gradients of single examples held at once."""


class Task2Vec(TaskDistance):
    """See the module.

    Args:
        probe: the network.
        samples: labels drawn from p(y|x) for each example; 0: the exact mean over all classes.
        most: examples at most, drawn at random; 0: all.
        alpha: α, weight of a known task's distance from the trivial one (0.15 in the paper).
        prior: λ as a share of the mean of F in the layer.
        relative: divide each layer's F by its mean; else F keeps its size.
        penalty: of the head, see `metacortex.similarity.probe.fit_head`; features have a mean squared length of 1.
        seed: of the examples and labels drawn.

    Raises:
        SettingsError: for values out of range.
    """

    name: ClassVar[str] = "task2vec"

    def __init__(
        self,
        probe: Probe,
        *,
        samples: int = 1,
        most: int = 300,
        alpha: float = 0.0,
        prior: float = 0.1,
        relative: bool = True,
        penalty: float = 0.1,
        seed: int = 0,
    ) -> None:
        if samples < 0 or most < 0 or prior < 0 or penalty <= 0:
            raise SettingsError(
                f"task2vec: samples, most and prior must not be negative and penalty must be positive, got {samples}, "
                f"{most}, {prior}, {penalty}"
            )
        self.probe, self.samples, self.most, self.seed = probe, samples, most, seed
        self.alpha, self.prior, self.relative, self.penalty = alpha, prior, relative, penalty

    def embed(self, task: Examples) -> Vector:
        """F ``[filters]`` of the probe, layer after layer; not negative."""
        rows = self._rows(len(task.targets))
        inputs, targets = self.probe.prepared(task.inputs[rows]), task.targets[rows]
        found = fisher_diagonal(
            self.probe, inputs, targets, task.way, samples=self.samples, penalty=self.penalty, seed=self.seed
        )
        vectors = [f.flatten(1).mean(1).double().numpy() for f in found.values() if f.dim() > 1]
        if not vectors:
            raise LearnerError("task2vec needs a probe with layers of weights (matrices or filters), this one has none")
        return np.concatenate(vectors)

    def distance(self, known: Vector, new: Vector) -> float:
        """d(A → B), in −α to 1; where F keeps its size, λ is relative to these two tasks."""
        return self._scaled(known, new, self._scale([known, new]))

    def between(self, known: Sequence[Vector], new: Sequence[Vector]) -> NDArray[np.float64]:
        """``[known, new]`` distances; where F keeps its size, λ is relative to the known tasks."""
        scale = self._scale(known)
        return np.array([[self._scaled(a, b, scale) for b in new] for a in known]).reshape(len(known), len(new))

    def _scaled(self, known: Vector, new: Vector, scale: Vector | None) -> float:
        a, b = ((v / (self._layer_means(v) if scale is None else scale)) + self.prior for v in (known, new))
        return _apart(a, b) - (self.alpha * _apart(a, np.full(len(a), self.prior)) if self.alpha else 0.0)

    def _scale(self, embeddings: Sequence[Vector]) -> Vector | None:
        """What λ is relative to: the mean of F in each layer over tasks, ``None``: of each task itself."""
        return None if self.relative else self._layer_means(np.mean(embeddings, axis=0))

    def _layer_means(self, vector: Vector) -> Vector:
        """Mean of each layer's entries, in the place of each entry."""
        sizes = [len(w) for w in self.probe.weights().values() if w.dim() > 1]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return np.concatenate([np.full(len(p), max(float(p.mean()), 1e-300)) for p in parts])

    def _rows(self, count: int) -> Tensor:
        if not self.most or count <= self.most:
            return torch.arange(count)
        drawn = permutation(fold(root_key(self.seed, "task2vec"), count), count)[: self.most]
        return torch.from_numpy(np.sort(drawn))


def _apart(a: Vector, b: Vector) -> float:
    total = np.maximum(a + b, 1e-300)
    x, y = a / total, b / total
    return 1.0 - float(x @ y) / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-300)


def fisher_diagonal(
    probe: Probe, inputs: Tensor, targets: Tensor, way: int, *, samples: int = 0, penalty: float = 0.1, seed: int = 0
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of the probe's weights, for a head fitted to the examples.

    Args:
        probe: the network.
        inputs: ``[N, ...]``, prepared.
        targets: ``[N]`` in ``0 .. way-1``.
        way: number of classes.
        samples: labels drawn for each example; 0: the exact mean over all classes.
        penalty: of the head.
        seed: of the labels drawn.

    Returns:
        Weight name -> tensor of the weight's shape, not negative.
    """
    weights = probe.weights()
    with torch.no_grad():
        features = torch.cat([probe.features(weights, part) for part in inputs.split(512)])
    unit = features.square().sum(1).mean().sqrt().clamp_min(1e-12)
    head, bias = fit_head(features / unit, targets, way, penalty)
    chances = (features / unit @ head + bias).softmax(1)
    if samples:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.multinomial(chances, samples, replacement=True, generator=generator)  # [N, S]
        shares = torch.full(labels.shape, 1.0 / samples, dtype=chances.dtype)
    else:
        labels, shares = torch.arange(way).expand(len(inputs), way), chances

    def log_likelihood(own: dict[str, Tensor], x: Tensor, slot: Tensor) -> Tensor:
        logits = probe.features(own, x[None])[0] / unit @ head + bias
        return (F.log_softmax(logits, 0) * slot).sum()

    each = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    rows = torch.arange(len(inputs)).repeat_interleave(labels.shape[1])  # [N*S]
    slots = torch.eye(way, dtype=chances.dtype)[labels.reshape(-1)]  # not one_hot, which fails inside vmap
    for part in torch.arange(len(rows)).split(_CHUNK):
        slopes = each(weights, inputs[rows[part]], slots[part])
        share = shares.reshape(-1)[part] / len(inputs)
        for name, slope in slopes.items():
            total[name] += torch.einsum("n,n...->...", share, slope.square())
    return total
