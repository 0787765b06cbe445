"""In which mode modules run: training or evaluation, and whether their operations are being recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

__all__ = ["capturing", "evaluating", "recording", "transforming"]

_capturing: ContextVar[bool] = ContextVar("metacortex_capturing", default=False)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each submodule is in the mode that it was in."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training


@contextmanager
def capturing() -> Iterator[None]:
    """Operations inside are recorded as a graph that serves other values as well."""
    token = _capturing.set(True)
    try:
        yield
    finally:
        _capturing.reset(token)


def recording() -> bool:
    """Whether code must not branch on values of tensors: they are being recorded, or compiled."""
    return _capturing.get() or torch.compiler.is_compiling()


def transforming() -> bool:
    """Whether a transform of `torch.func` (``vmap``, ``grad``) is active; inside, `torch.autograd` cannot be used."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined]
