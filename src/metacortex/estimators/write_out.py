"""What ONNX has no operator for, in elementary operations, while a graph is traced.

Linear systems become Gauss–Jordan elimination. Pivots are not exchanged: the systems of closed-form learners are
symmetric and positive definite, where none need be. Eliminations, and the steps of iterative solvers
(`metacortex.learners.repeat`), become loops of the graph (ONNX: Scan), so that it does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metacortex.errors import LearnerError
from metacortex.learners.repeat import repeated

__all__ = ["WriteOut", "gauss_jordan"]


class WriteOut(TorchFunctionMode):
    """Inside, fixed loops become loops of the graph, and what ONNX lacks is written out. For tracing only.

    Args:
        loops_only: leave all but the loops to PyTorch, for graphs that it will run.
    """

    def __init__(self, loops_only: bool = False) -> None:
        super().__init__()
        self.loops_only = loops_only

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is repeated:
            return self._repeated(*args)
        call = _WRITTEN_OUT[func] if func in _WRITTEN_OUT and not self.loops_only else func
        return call(*args, **(kwargs or {}))

    def _repeated(
        self, step: Callable[..., tuple[Tensor, ...]], carry: tuple[Tensor, ...], fixed: Sequence[Tensor], count: int
    ) -> tuple[Tensor, ...]:
        def turn(*given: Tensor) -> tuple[Tensor, ...]:
            with WriteOut(self.loops_only):
                return step(*given[: len(carry)], *given[len(carry) + 1 :])

        turns = torch.zeros(count, 1, dtype=carry[0].dtype, device=carry[0].device)
        return _scan(turn, carry, turns, fixed)


def gauss_jordan(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``[..., n, n]``, symmetric positive definite, against ``[..., n, k]``, while a graph is traced."""
    n = matrix.shape[-1]
    unit = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    # The rows of the unit matrix say which row's turn it is: a loop of a graph has no index to take.
    return _scan(_eliminated, (torch.cat([matrix, right], -1),), unit, ())[0][..., n:]


def _eliminated(rows: Tensor, turn: Tensor) -> tuple[Tensor]:
    """One column of ``[..., n, n + k]`` becomes that of the unit matrix."""
    n = turn.shape[0]
    row = (rows * turn[:, None]).sum(-2, keepdim=True)  # [..., 1, n + k]
    column = (rows[..., :n] * turn).sum(-1, keepdim=True)  # [..., n, 1]
    pivot = row / (row[..., :n] * turn).sum(-1, keepdim=True)
    # The row itself becomes the pivot row, every other one loses its share of it.
    return (rows - (column - turn[:, None]) * pivot,)


def _scan(
    step: Callable[..., tuple[Tensor, ...]], carry: Sequence[Tensor], turns: Tensor, fixed: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """carry ← step(*carry, turn, *fixed) for each row of ``turns``, as one node of the graph that is traced."""

    def body(*given: Tensor) -> list[Tensor]:
        # A loop of a graph must give something for each turn.
        return [*step(*given), given[len(carry)].sum()]

    # Not torch.scan: that one has the step read by a compiler, which cannot read it inside a function mode.
    return tuple(torch.ops.higher_order.scan(body, list(carry), [turns], tuple(fixed))[: len(carry)])


def _solve(matrix: Tensor, right: Tensor, *, left: bool = True) -> Tensor:
    columns = right[..., None] if right.dim() == matrix.dim() - 1 else right
    solved = gauss_jordan(matrix, columns) if left else gauss_jordan(matrix.mT, columns.mT).mT
    return solved[..., 0] if right.dim() == matrix.dim() - 1 else solved


def _inverse(matrix: Tensor) -> Tensor:
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return gauss_jordan(matrix, unit.expand(matrix.shape))


def _argsort(x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The order of a vector, by its largest entries; equal integers are told apart by their places."""
    count = x.shape[0]
    if x.dim() != 1 or (stable and x.is_floating_point()):
        raise LearnerError(f"expected a vector to sort, of integers where order is kept, got {x.dtype} {list(x.shape)}")
    key = x
    if stable:
        places = torch.arange(count, device=x.device)
        key = x * count + (count - 1 - places if descending else places)
    return key.topk(count, largest=descending).indices


def _amin(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return x.flatten().amin(0) if dim == () else torch.amin(x, dim, keepdim)


def _amax(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return x.flatten().amax(0) if dim == () else torch.amax(x, dim, keepdim)


_WRITTEN_OUT: dict[Any, Callable[..., Any]] = {
    torch.linalg.solve: _solve,
    torch.linalg.inv: _inverse,
    torch.inverse: _inverse,
    torch.argsort: _argsort,
    torch.Tensor.amin: _amin,
    torch.Tensor.amax: _amax,
}
