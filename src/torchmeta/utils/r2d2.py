"""Ridge regression in closed form, as a head that a network can be trained through."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.errors import DataError

__all__ = ["RidgeRegression", "ridge_regression"]


class RidgeRegression(NamedTuple):
    """Weight ``[C, D]`` and bias ``[C]`` or None, to be used with `torch.nn.functional.linear`."""

    weight: Tensor
    bias: Tensor | None


def ridge_regression(
    embeddings: Tensor,
    targets: Tensor,
    reg_lambda: float | Tensor,
    num_classes: int | None = None,
    use_woodbury: bool | None = None,
    scale: bool = True,
    bias: bool = True,
) -> RidgeRegression:
    """argmin over W of ‖X Wᵀ − Y‖² + λ ‖W‖², for ONE task.

    Args:
        embeddings: X, ``[N, D]``.
        targets: ``[N]`` int64 labels, of which Y is the one-hot code, or ``[N, C]`` floats (regression).
        reg_lambda: λ, positive.
        num_classes: C of labels; counted from them when not given.
        use_woodbury: solve the ``N × N`` system instead of the ``D × D`` one; whichever is smaller when not given.
        scale: divide the squared error by N.
        bias: append a constant to X; its coefficient is regularised as the others are.

    Raises:
        DataError: (a ValueError) for more than one task.

    Reference: Bertinetto et al., "Meta-learning with differentiable closed-form solvers", 2019, eq. 4 and 5.
    """
    if embeddings.dim() != 2 or len(targets) != len(embeddings):
        raise DataError(
            f"expected the embeddings [N, D] and targets [N] of one task, got {list(embeddings.shape)} and "
            f"{list(targets.shape)}: call it once for each task of a batch"
        )
    count = len(embeddings)
    x = torch.cat([embeddings, embeddings.new_ones(count, 1)], 1) if bias else embeddings
    if targets.is_floating_point():
        y = targets.to(x.dtype).reshape(count, -1)
    else:
        y = F.one_hot(targets, num_classes or int(targets.max()) + 1).to(x.dtype)
    if scale:
        x, y = x / math.sqrt(count), y / math.sqrt(count)
    if use_woodbury is None:
        use_woodbury = count <= x.shape[1]
    if use_woodbury:  # W = Xᵀ (X Xᵀ + λ)⁻¹ Y
        kernel = x @ x.T + reg_lambda * torch.eye(count, dtype=x.dtype, device=x.device)
        solution = x.T @ torch.linalg.solve(kernel, y)
    else:  # W = (Xᵀ X + λ)⁻¹ Xᵀ Y
        normal = x.T @ x + reg_lambda * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        solution = torch.linalg.solve(normal, x.T @ y)
    weight = solution.T  # [C, D(+1)]
    return RidgeRegression(weight[:, :-1], weight[:, -1]) if bias else RidgeRegression(weight, None)
