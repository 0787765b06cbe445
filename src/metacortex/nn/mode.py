"""In which mode modules run: training or evaluation, and whether their operations are being recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = [
    "capturing",
    "counted_device",
    "counting",
    "eager_on_cpu",
    "evaluating",
    "graphing",
    "mapping",
    "on_gpu",
    "recording",
    "transforming",
]

_capturing: ContextVar[bool] = ContextVar("metacortex_capturing", default=False)
_counting: ContextVar[str | None] = ContextVar("metacortex_counting", default=None)


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


@contextmanager
def counting(device: str) -> Iterator[None]:
    """Tensors inside have no data; what would be computed on a type of device is gone through to count its memory."""
    token = _counting.set(device)
    try:
        with capturing():
            yield
    finally:
        _counting.reset(token)


def counted_device() -> str | None:
    """The device of `counting`, ``None`` outside."""
    return _counting.get()


def on_gpu(x: Tensor) -> bool:
    """Whether a tensor is on a GPU, or stands for one that will be."""
    return (counted_device() or x.device.type) == "cuda"


def eager_on_cpu(x: Tensor) -> bool:
    """Whether a tensor is on a CPU, or counted as if, and nothing but `torch.autograd` watches what is done to it."""
    return (
        (counted_device() or x.device.type) == "cpu"
        and not graphing()
        and not transforming()
        and not torch.jit.is_tracing()  # type: ignore[reportPrivateImportUsage]
        and type(x) in (Tensor, nn.Parameter)
        and x.layout == torch.strided
        and getattr(forward_ad, "_current_level", -1) < 0  # forward derivatives, which have no public way to ask either
    )


def graphing() -> bool:
    """Whether operations are recorded as a graph, or compiled; unlike `recording` not where they are counted only."""
    return recording() and _counting.get() is None


def recording() -> bool:
    """Whether code must not branch on values of tensors: they are being recorded, or compiled."""
    return _capturing.get() or torch.compiler.is_compiling()


# PyTorch has no public way to ask. Where it lacks one of these, some transform is taken to be active, and no ``vmap``:
# right, only slower.
_functorch = getattr(torch._C, "_functorch", None)
_innermost_transform = getattr(_functorch, "peek_interpreter_stack", None)
_transforms = getattr(_functorch, "get_interpreter_stack", None)


def transforming() -> bool:
    """Whether a transform of `torch.func` (``vmap``, ``grad``) is active; inside, `torch.autograd` cannot be used."""
    return _innermost_transform is None or _innermost_transform() is not None


def mapping() -> bool:
    """Whether a ``vmap`` of `torch.func` is active."""
    active = None if _transforms is None else _transforms()
    return any(transform.key().name == "Vmap" for transform in active or ())
