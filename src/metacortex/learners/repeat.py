"""A loop of a fixed number of steps that an exporter may write as a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["repeated"]


def repeated(
    step: Callable[..., tuple[Tensor, ...]], carry: tuple[Tensor, ...], fixed: Sequence[Tensor], count: int
) -> tuple[Tensor, ...]:
    """carry ← step(*carry, *fixed), ``count`` times.

    It is a Python loop. A `torch.overrides.TorchFunctionMode` is asked first, as it is for PyTorch's own functions,
    so that what traces a graph can put one loop into it where there would be every step.

    Args:
        step: of tensors it is not given it may use none.
        carry: tensors that a step renews, shapes and dtypes kept.
        fixed: tensors that it also reads.
        count: number of steps.

    Example:
        >>> import torch
        >>> [float(x) for x in repeated(lambda x, rate: (x * rate,), (torch.ones(()),), [torch.tensor(2.0)], 3)]
        [8.0]
    """
    if has_torch_function(carry):
        return handle_torch_function(repeated, carry, step, carry, fixed, count)
    for _ in range(count):
        carry = step(*carry, *fixed)
    return carry
