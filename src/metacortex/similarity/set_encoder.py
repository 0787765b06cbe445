"""A learned set encoder: a task is a vector in which parts of the same task are near each other.

    token of class c   t_c = ψ( mean of z_i, deviation of z_i : y_i = c ),   z = features of a probe
    task               e   = ρ( mean over c of t_c, deviation over c of t_c ) / ‖·‖
    distance           d(A, B) = 1 − e_A · e_B

Means and deviations make the order of the examples and the names of the classes irrelevant, whatever their numbers.
ψ and ρ are perceptrons, trained on the known tasks alone: from each of T tasks two parts with different examples and,
where there are enough, different classes are drawn, e_1 … e_T and e'_1 … e'_T, and

    loss = mean over i of −log softmax_j( e_i · e'_j / τ )[i]

Where the transfer T_ij from task i to task j was measured, the encoder may learn to foretell it instead:

    loss = − mean over j of the correlation over i ≠ j of ( e_i · e'_j, T_ij )

Reference: Zaheer et al., "Deep Sets", NeurIPS 2017, theorem 2 (the form of the encoder); van den Oord, Li and Vinyals,
"Representation Learning with Contrastive Predictive Coding", 2018, equation 4 (the loss); Edwards and Storkey,
"Towards a Neural Statistician", ICLR 2017 (data sets as vectors by pooling).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from metacortex.errors import DataError, SettingsError
from metacortex.learners.features import members, unit
from metacortex.nn.mlp import dense
from metacortex.similarity.distance import TaskDistance
from metacortex.task import Examples

__all__ = ["SetDistance", "SetEncoder"]

_TINY = 1e-6


class SetEncoder(nn.Module):
    """From a labelled set of feature vectors to a unit vector; see the module.

    Args:
        features: length D of the feature vectors.
        width: of the class tokens and hidden layers.
        size: length of the result.

    Example:
        >>> encoder = SetEncoder(3)
        >>> task = Examples(torch.rand(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), classes=torch.ones(3, dtype=torch.bool))
        >>> encoder(task).shape
        torch.Size([32])
    """

    def __init__(self, features: int, width: int = 64, size: int = 32) -> None:
        super().__init__()
        self.of_class = dense(2 * features, width, width)
        self.of_task = dense(2 * width, width, size)

    def forward(self, task: Examples) -> Tensor:
        """``[size]``, of length 1.

        Args:
            task: features ``[N, D]`` as inputs, targets and the class mask; classes without examples are left out.
        """
        one_hot = members(task, task.inputs)  # [N, way]
        counts = one_hot.sum(0)
        shares = one_hot / counts.clamp_min(1)
        means = shares.T @ task.inputs
        variances = (shares.T @ task.inputs.square() - means.square()).clamp_min(0)
        tokens = self.of_class(torch.cat([means, (variances + _TINY).sqrt()], 1))[counts > 0]
        middle = tokens.mean(0)
        spread = ((tokens - middle).square().mean(0) + _TINY).sqrt()
        return unit(self.of_task(torch.cat([middle, spread])))


class SetDistance(TaskDistance):
    """Cosine distance of what a `SetEncoder` makes of two tasks; `fit` trains it on the known ones, see the module.

    Args:
        features: inputs ``[N, ...]`` to features ``[N, D]``, e.g. a `metacortex.similarity.probe.Probe`; raw inputs
            when not given.
        width: see `SetEncoder`, as ``size``.
        size: length of an embedding.
        steps: of training (Adam, learning rate 2e-3).
        tasks: T, known tasks in each step.
        temperature: τ.
        seed: of initial weights and parts drawn.
    """

    name: ClassVar[str] = "set"

    def __init__(
        self,
        features: Callable[[Tensor], Tensor] | None = None,
        *,
        width: int = 64,
        size: int = 32,
        steps: int = 150,
        tasks: int = 12,
        temperature: float = 0.1,
        seed: int = 0,
    ) -> None:
        if min(width, size, steps) < 1 or tasks < 2 or temperature <= 0:
            raise SettingsError(
                "set encoder: expected positive numbers and 2 tasks or more in a step, got "
                f"width={width}, size={size}, "
                f"steps={steps}, tasks={tasks}, temperature={temperature}"
            )
        self.features, self.width, self.size = features, width, size
        self.steps, self.tasks, self.temperature, self.seed = steps, tasks, temperature, seed
        self.encoder: SetEncoder | None = None
        self.centre, self.scale = torch.zeros(1), 1.0

    def fit(self, known: Mapping[str, Examples], transfers: NDArray[np.float64] | None = None) -> SetDistance:
        """Train the encoder on the known tasks.

        Args:
            known: tasks by name.
            transfers: T ``[known, known]``, see `metacortex.similarity.transfer.transfer_matrix`; the diagonal does
                not count. Without them the encoder learns to tell the tasks apart.

        Raises:
            DataError: if there are fewer than two, or one of them has a single example.
        """
        if len(known) < 2:
            raise DataError(
                f"the set encoder learns by telling tasks apart: give two known tasks or more, got {len(known)}"
            )
        tasks = [self._seen(task) for task in known.values()]
        if min(len(task.targets) for task in tasks) < 2:
            raise DataError("the set encoder learns from two parts of each known task: each needs two examples or more")
        rows = torch.cat([task.inputs for task in tasks])
        self.centre = rows.mean(0)
        self.scale = max(float((rows - self.centre).square().mean()) ** 0.5, _TINY)
        tasks = [Examples(self._scaled(t.inputs), t.targets, classes=t.classes) for t in tasks]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.encoder = SetEncoder(rows.shape[1], self.width, self.size)
        optimizer = torch.optim.Adam(self.encoder.parameters(), lr=2e-3)
        rng = np.random.default_rng(self.seed)
        for _ in range(self.steps):
            drawn = rng.permutation(len(tasks))[: self.tasks]
            parts = [_two_parts(tasks[i], rng) for i in drawn]
            one, other = (torch.stack([self.encoder(pair[side]) for pair in parts]) for side in (0, 1))
            if transfers is None:
                loss = F.cross_entropy(one @ other.T / self.temperature, torch.arange(len(parts)))
            else:
                loss = -_correlation(one @ other.T, torch.from_numpy(transfers[np.ix_(drawn, drawn)]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return self

    def embed(self, task: Examples) -> NDArray[np.float64]:
        """``[size]``, of length 1.

        Raises:
            DataError: before `fit`.
        """
        if self.encoder is None:
            raise DataError("the set encoder has not learned yet: call fit with the known tasks first")
        seen = self._seen(task)
        with torch.no_grad():
            scaled = Examples(self._scaled(seen.inputs), seen.targets, classes=seen.classes)
            return self.encoder(scaled).double().numpy()

    def distance(self, known: NDArray[np.float64], new: NDArray[np.float64]) -> float:
        """1 − cosine, in 0–2."""
        return 1.0 - float(known @ new)

    def _seen(self, task: Examples) -> Examples:
        inputs = task.inputs if self.features is None else self.features(task.inputs)
        return Examples(inputs.flatten(1), task.targets, classes=task.classes)

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows - self.centre) / self.scale


def _correlation(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the columns of the correlation of ``[T, T]``, without the diagonal."""
    off = (~torch.eye(len(found), dtype=torch.bool)).to(found.dtype)

    def centred(x: Tensor) -> Tensor:
        x = torch.where(off > 0, x, torch.zeros_like(x))
        x = (x - x.sum(0) / off.sum(0)) * off
        return x / (x.square().sum(0) + 1e-12).sqrt()

    return (centred(found) * centred(wanted.to(found.dtype))).sum(0).mean()


def _two_parts(task: Examples, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Two parts without a common example; without a common class where there are four or more."""
    way = task.way
    order = torch.from_numpy(rng.permutation(way))
    if way >= 4:
        sides = order[task.targets] < way // 2  # [N]: which half its class is in
    else:
        sides = torch.from_numpy(rng.permutation(len(task.targets))) < len(task.targets) // 2
    found = []
    for side in (sides, ~sides):
        rows = torch.nonzero(side)[:, 0]
        # A half of the half: tasks of different sizes are to be alike, too.
        kept = rows[torch.from_numpy(rng.permutation(len(rows)))[: max(len(rows) // 2, 1)]]
        found.append(Examples(task.inputs[kept], task.targets[kept], classes=task.classes))
    return found[0], found[1]
