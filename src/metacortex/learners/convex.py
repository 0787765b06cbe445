"""Small convex problems with exact derivatives: what the linear heads of few-shot learners solve.

Each solver maps the features of N support examples to the weights of a linear model and works on their Gram
matrix (the dual, or Woodbury, form): with few examples and long features that is the small side. The iterative
ones take a fixed number of steps, so that they go through ``vmap``; the steps are taken without a graph, and one
last Newton step at the solution carries the gradient. For a solution x* of F(x, θ) = 0 that step,
x* − J⁻¹ F(x*, θ) with J constant, has the value x* and, by the implicit function theorem, its exact first
derivative in θ (no higher ones).

Rows of zeros in features and targets are padding: they get coefficients of no effect.
Everything is computed in double precision (where the device has it) and returned in the precision that came.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from metacortex.learners.repeat import repeated

__all__ = ["ridge", "softmax_regression", "support_vectors"]


def ridge(features: Tensor, targets: Tensor, penalty: Tensor | float) -> Tensor:
    """W = argmin ‖X W − Y‖² + λ ‖W‖², by the smaller of two linear systems.

        W = Xᵀ (X Xᵀ + λ I)⁻¹ Y  (N ≤ D, Woodbury)  =  (Xᵀ X + λ I)⁻¹ Xᵀ Y

    Args:
        features: X ``[N, D]``.
        targets: Y ``[N, M]``.
        penalty: λ, positive.

    Returns:
        W ``[D, M]``, differentiable in all three.

    Example:
        >>> ridge(torch.eye(2), torch.tensor([[2.0], [4.0]]), 1.0).tolist()
        [[1.0], [2.0]]
    """
    x, y = _wide(features), _wide(targets)
    rows, columns = x.shape
    if rows <= columns:
        weights = x.T @ torch.linalg.solve(x @ x.T + penalty * _eye(rows, x), y)
    else:
        weights = torch.linalg.solve(x.T @ x + penalty * _eye(columns, x), x.T @ y)
    return weights.to(features.dtype)


def softmax_regression(
    features: Tensor, targets: Tensor, penalty: Tensor | float, *, live: Tensor | None = None, iterations: int = 15
) -> Tensor:
    """W = argmin Σ_n −log softmax(x_n W)[y_n] + λ/2 ‖W‖², by Newton's method (reweighted least squares).

    At the solution W = Xᵀ A with λ A = Y − softmax(X W). A Newton step solves with the softmax's Hessian,
    diag(π) − π πᵀ for each example, by one inversion per class; it is shortened where it would not lower
    the objective.

    Args:
        features: X ``[N, D]``.
        targets: Y one-hot ``[N, K]``, zero for padding rows.
        penalty: λ, positive.
        live: ``[K]`` bool, False for padding classes.
        iterations: Newton steps.

    Returns:
        W ``[D, K]``, differentiable in features and penalty.

    Reference: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 3.47 and
    algorithm 3.3, with the kernel X Xᵀ / λ.
    """
    x, y = _wide(features), _wide(targets)
    kernel = x @ x.T / penalty
    rows = y.sum(1)
    gap = y.new_zeros(y.shape[1]) if live is None else _hidden(live, y)
    a, fixed, fixed_y = torch.zeros_like(y), kernel.detach(), y.detach()
    (a,) = repeated(_shortened, (a,), (fixed, fixed_y, rows, gap), iterations)
    a = a + _softmax_newton(a, kernel, fixed, fixed_y, rows, gap)
    return (x.T @ a / penalty).to(features.dtype)


def support_vectors(
    features: Tensor, targets: Tensor, bound: float, *, live: Tensor | None = None, iterations: int = 25
) -> Tensor:
    """The multi-class support vector machine of Crammer and Singer, by a primal-dual interior point method.

    W = argmin ½ ‖W‖² + C Σ_n ξ_n with x_n (w_{y_n} − w_k) ≥ 1 − [k = y_n] − ξ_n for all n, k. It is Xᵀ A, where
    A minimises ½ tr(Aᵀ X Xᵀ A) − tr(Aᵀ Y) with every row of B = C Y − A in a simplex: B ≥ 0, Σ_k B_nk = C.

    Args:
        features: X ``[N, D]``.
        targets: Y one-hot ``[N, K]``, zero for padding rows.
        bound: C, positive.
        live: ``[K]`` bool, False for padding classes.
        iterations: interior point steps; the complementarity gap ends at 1e-10 · C.

    Returns:
        W ``[D, K]``, differentiable in the features.

    *Differentiability*: the derivative at the solution; where an example is exactly at a margin the solution has
    a kink and the derivative is that of a solution smoothed over the final gap.

    Reference: Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
    2001; steps after Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", 1992.
    """
    x, y = _wide(features), _wide(targets)
    full = x @ x.T
    slots = y.new_ones(y.shape[1]) if live is None else live.to(y.dtype)
    g, linear = full.detach(), y - bound * full @ y  # gradient in B: X Xᵀ B + linear
    fixed = linear.detach()
    end = 1e-10 * bound
    b = (bound / slots.sum()) * slots * torch.ones_like(y)
    slope = g @ b + fixed
    # Start with dual variables z = slope + ν that are positive and much the same everywhere.
    low = slope.masked_fill(slots == 0, torch.inf).amin(1)
    high = slope.masked_fill(slots == 0, -torch.inf).amax(1)
    nu = (high - low).amax() + 1 - low
    z = torch.where(slots > 0, slope + nu[:, None], torch.ones_like(slope))
    b, z, nu = repeated(partial(_inwards, bound=bound, end=end), (b, z, nu), (g, fixed, slots), iterations)
    # At the solution: only what depends on the features keeps a graph.
    inverse = _inverses(g, (slots * b / z).sqrt())
    stray = (full @ b + linear + nu[:, None] - z) * slots
    b = b + _interior_step(end - b * z, inverse, stray, b.sum(1) - bound, z, b, slots)[0]
    dual = bound * y - b * y.sum(1, keepdim=True)
    return (x.T @ dual).to(features.dtype)


def _wide(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _hidden(live: Tensor, like: Tensor) -> Tensor:
    """``[K]``: what to add to logits so that padding classes get no probability."""
    return torch.zeros_like(live, dtype=like.dtype).masked_fill(~live, torch.finfo(like.dtype).min / 4)


def _inverses(gram: Tensor, root: Tensor) -> Tensor:
    """(G + diag(d_k)⁻¹)⁻¹ ``[K, N, N]`` for d_k = root_k², also where an entry of d_k is zero.

    R (I + R G R)⁻¹ R with R = diag(root_k): symmetric, and as well conditioned as the scales allow.
    """
    r = root.T  # [K, N]
    return (
        r[:, :, None]
        * torch.linalg.inv(_eye(gram.shape[0], gram) + r[:, :, None] * gram * r[:, None, :])
        * (r[:, None, :])
    )


def _tied(inverse: Tensor, right: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Solve x_k = E_k (right_k − u) for all classes k with Σ_k x_k = sums.

    Args:
        inverse: E ``[K, N, N]``.
        right: ``[N, K]``.
        sums: ``[N]``.

    Returns:
        x ``[N, K]`` and u ``[N]``; u is zero for rows that no class uses.
    """
    loose = torch.einsum("kij,jk->ik", inverse, right)  # [N, K]
    total = inverse.sum(0)
    unused = (total.diagonal() == 0).to(total.dtype)
    u = torch.linalg.solve(total + torch.diag(unused), loose.sum(1) - sums)
    return loose - torch.einsum("kij,j->ik", inverse, u), u


def _softmax_newton(a: Tensor, kernel: Tensor, fixed: Tensor, y: Tensor, rows: Tensor, gap: Tensor) -> Tensor:
    """(I + H K)⁻¹ (Y − π(K A) − A): graph through ``kernel`` in the residual, none through ``fixed``."""
    residual = y - (kernel @ a + gap).softmax(1) * rows[:, None] - a
    share = ((fixed @ a + gap).softmax(1) * rows[:, None]).detach()
    # (I + H K)⁻¹ = I − (K + H⁻¹)⁻¹ K, and (K + H⁻¹)⁻¹ = E − E (Σ E_k)⁻¹ E: equation 3.47.
    inside, _ = _tied(_inverses(fixed, share.sqrt()), fixed @ residual, torch.zeros_like(rows))
    return residual - inside


def _softmax_objective(a: Tensor, kernel: Tensor, y: Tensor, rows: Tensor, gap: Tensor) -> Tensor:
    f = kernel @ a
    return 0.5 * (a * f).sum() - (y * f).sum() + (rows * (f + gap).logsumexp(1)).sum()


def _shortened(a: Tensor, kernel: Tensor, y: Tensor, rows: Tensor, gap: Tensor) -> tuple[Tensor]:
    """A + t · Newton's step with the last of a few t that does not raise the objective."""
    step = _softmax_newton(a, kernel, kernel, y, rows, gap)
    now = _softmax_objective(a, kernel, y, rows, gap)
    slack = 1e-10 * (1 + now.abs())
    best = a
    for t in (1 / 64, 1 / 8, 1 / 2, 1.0):
        moved = a + t * step
        best = torch.where(_softmax_objective(moved, kernel, y, rows, gap) <= now + slack, moved, best)
    return (best,)


def _inwards(
    b: Tensor, z: Tensor, nu: Tensor, g: Tensor, linear: Tensor, slots: Tensor, *, bound: float, end: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Mehrotra's: predicted, then corrected and centred; as `support_vectors` names them."""
    count = slots.sum() * b.shape[0]
    inverse = _inverses(g, (slots * b / z).sqrt())
    stray = (g @ b + linear + nu[:, None] - z) * slots
    excess = b.sum(1) - bound
    gap = (b * z * slots).sum() / count
    towards = partial(_interior_step, inverse=inverse, stray=stray, excess=excess, z=z, b=b, slots=slots)
    db, dz, _ = towards(-b * z)
    length = _room(b, db, z, dz, slots, 1.0)
    reached = ((b + length * db) * (z + length * dz) * slots).sum() / count
    centre = torch.maximum(gap * (reached / gap) ** 3, torch.full_like(gap, end))
    db, dz, dnu = towards(centre - b * z - db * dz)
    length = _room(b, db, z, dz, slots, 0.99)
    return b + length * db, z + length * dz, nu + length * dnu


def _interior_step(
    right: Tensor, inverse: Tensor, stray: Tensor, excess: Tensor, z: Tensor, b: Tensor, slots: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's step for X Xᵀ B + linear + ν − Z = 0, Σ_k B = C and B Z = target.

    Args:
        right: target − B Z ``[N, K]``, corrections included.
        inverse: (X Xᵀ + diag(z_k / b_k))⁻¹ ``[K, N, N]``.
        stray: how far the first equation is from holding, ``[N, K]``.
        excess: how far the second is, ``[N]``.
        z: ``[N, K]``.
        b: ``[N, K]``.
        slots: ``[K]``, 0 for padding classes.
    """
    safe = torch.where(slots > 0, b, torch.ones_like(b))
    db, dnu = _tied(inverse, (right / safe - stray) * slots, -excess)
    return db, (right - z * db) / safe * slots, dnu


def _room(b: Tensor, db: Tensor, z: Tensor, dz: Tensor, slots: Tensor, share: float) -> Tensor:
    """The longest step, at most 1, that uses up at most this share of the way to the border."""

    def until(x: Tensor, dx: Tensor) -> Tensor:
        falls = (dx < 0) & (slots > 0)
        return torch.where(falls, -x / torch.where(falls, dx, -torch.ones_like(dx)), torch.full_like(x, torch.inf))

    return (share * torch.minimum(until(b, db).amin(), until(z, dz).amin())).clamp_max(1.0)
