"""Solvers against NumPy, scikit-learn, optimality conditions and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.func import grad, vmap

from metacortex.learners.convex import ridge, softmax_regression, support_vectors

SHAPES = [(6, 9, 3), (12, 4, 3), (5, 8, 5)]
"""Examples, features, classes: more features, more examples, one example of each class."""


def problem(rows: int, columns: int, classes: int, seed: int = 0, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features ``[N, D]`` and one-hot targets ``[N, K]``."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    means = spread * torch.randn(classes, columns, generator=g, dtype=torch.float64)
    x = means[labels] + torch.randn(rows, columns, generator=g, dtype=torch.float64)
    return x, F.one_hot(labels, classes).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_ridge_is_numpys(shape: tuple[int, int, int]) -> None:
    x, y = problem(*shape)
    a = x.numpy()
    expected = np.linalg.solve(a.T @ a + 0.7 * np.eye(shape[1]), a.T @ y.numpy())
    torch.testing.assert_close(ridge(x, y, 0.7), torch.from_numpy(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_softmax_regression_is_scikit_learns(shape: tuple[int, int, int], penalty: float) -> None:
    x, y = problem(*shape)
    model = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10000)
    expected = model.fit(x.numpy(), y.argmax(1).numpy()).coef_
    np.testing.assert_allclose(softmax_regression(x, y, penalty).T.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("penalty", "spread"), [(1e-4, 10.0), (1e-3, 0.1), (100.0, 1.0)])
def test_softmax_regression_converges_on_hard_problems(penalty: float, spread: float) -> None:
    """At the solution λ W = Xᵀ (Y − softmax(X W))."""
    x, y = problem(12, 4, 3, spread=spread)
    weights = softmax_regression(x, y, penalty, iterations=40)
    slope = penalty * weights - x.T @ (y - (x @ weights).softmax(1))
    assert float(slope.abs().max()) < 1e-8 * float(x.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bound", [0.1, 3.0])
def test_support_vectors_are_scikit_learns(shape: tuple[int, int, int], bound: float) -> None:
    x, y = problem(*shape, spread=2.0)
    model = LinearSVC(multi_class="crammer_singer", fit_intercept=False, C=bound, tol=1e-9, max_iter=100000)
    expected = model.fit(x.numpy(), y.argmax(1).numpy()).coef_
    np.testing.assert_allclose(support_vectors(x, y, bound).T.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_neighbour_of_the_support_vector_solution_is_better(shape: tuple[int, int, int]) -> None:
    x, y = problem(*shape, seed=1)
    g = torch.Generator().manual_seed(0)

    def objective(w: Tensor) -> Tensor:
        slack = (x @ w + 1 - y).amax(1) - (x @ w * y).sum(1)
        return 0.5 * (w * w).sum() + 0.5 * slack.sum()

    weights = support_vectors(x, y, 0.5)
    best = objective(weights)
    for size in (1e-1, 1e-3, 1e-5):
        steps = size * torch.randn(20, *weights.shape, generator=g, dtype=torch.float64)
        assert all(objective(weights + step) >= best - 1e-10 for step in steps)


def test_support_vectors_take_examples_twice() -> None:
    """A singular Gram matrix: two copies of each example are one with twice the bound."""
    x, y = problem(6, 4, 3)
    twice = support_vectors(torch.cat([x, x]), torch.cat([y, y]), 0.2)
    torch.testing.assert_close(twice, support_vectors(x, y, 0.4), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solve", [ridge, softmax_regression, support_vectors])
def test_gradients_by_finite_differences(solve, shape: tuple[int, int, int]) -> None:
    x, y = problem(*shape)
    penalty = torch.tensor(0.4, dtype=torch.float64, requires_grad=solve is not support_vectors)
    x.requires_grad_()
    if solve is support_vectors:
        assert torch.autograd.gradcheck(lambda x: solve(x, y, 0.4), (x,), atol=1e-6, rtol=1e-5, eps=1e-6)
    else:
        assert torch.autograd.gradcheck(lambda x, p: solve(x, y, p), (x, penalty), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("solve", [softmax_regression, support_vectors])
def test_padding_changes_nothing(solve) -> None:
    x, y = problem(6, 9, 3)
    wide_x, wide_y = F.pad(x, (0, 0, 0, 2)), F.pad(y, (0, 2, 0, 2))
    live = torch.tensor([True] * 3 + [False] * 2)
    got = solve(wide_x, wide_y, 0.3, live=live)
    torch.testing.assert_close(got[:, :3], solve(x, y, 0.3), rtol=1e-9, atol=1e-11)
    assert not got[:, 3:].any()


@pytest.mark.parametrize("solve", [ridge, softmax_regression, support_vectors])
def test_vmap_gives_what_a_loop_gives(solve) -> None:
    tasks = [problem(6, 9, 3, seed) for seed in range(3)]
    x, y = (torch.stack(parts) for parts in zip(*tasks, strict=True))

    def size(x: Tensor, y: Tensor) -> Tensor:
        return (solve(x, y, 0.3) ** 3).sum()

    expected = torch.stack([grad(size)(*task) for task in tasks])
    torch.testing.assert_close(vmap(grad(size))(x, y), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solve", [softmax_regression, support_vectors])
def test_too_few_iterations_are_noticed(solve) -> None:
    """Negative control of the tests above."""
    x, y = problem(12, 4, 3, spread=3.0)
    gap = (solve(x, y, 0.1, iterations=2) - solve(x, y, 0.1)).abs().max()
    assert float(gap) > 1e-3


@pytest.mark.parametrize("solve", [ridge, softmax_regression, support_vectors])
def test_single_precision_comes_back(solve) -> None:
    x, y = problem(6, 9, 3)
    got = solve(x.float(), y.float(), 0.3)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), solve(x, y, 0.3), rtol=1e-4, atol=1e-5)
