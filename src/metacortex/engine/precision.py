"""How exactly is computed: float32, bfloat16 in convolutions and matrix products, or TF32.

Weights, gradients, norms, losses and what is solved for stay in float32 (or wider) in any case; only the
operands of convolutions and matrix products are rounded, in the inner and in the outer pass alike.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metacortex.errors import SettingsError, unknown_name
from metacortex.native.processor import processor_flags

__all__ = [
    "PRECISIONS",
    "PrecisionWarning",
    "attention_by_formula",
    "autocasting",
    "check_precision",
    "precision_note",
    "rounding",
    "twice_differentiable",
    "usable_precision",
]

PRECISIONS = ("float32", "bf16", "tf32")
"""``bf16`` keeps 8 of float32's 24 significant bits and its range; ``tf32`` keeps 11."""

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""What Linux calls the units that multiply bfloat16, on x86 and on Arm."""


class PrecisionWarning(UserWarning):
    """A precision will cost time instead of saving it."""


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what a device does not have.

    Raises:
        SettingsError: for an unknown precision, or TF32 without an NVIDIA GPU.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "tf32" and device.type != "cuda":
        raise SettingsError(f"precision tf32 needs an NVIDIA GPU, this run is on {device}: choose float32 or bf16")


def usable_precision(precision: str, device: torch.device, model: nn.Module) -> str:
    """The precision, or float32 with a warning: oneDNN has no recurrent cells in bfloat16 for a CPU without AVX-512.

    Raises:
        SettingsError: see `check_precision`.
    """
    check_precision(precision, device)
    if precision != "bf16" or device.type != "cpu" or not any(isinstance(m, nn.RNNBase) for m in model.modules()):
        return precision
    flags = processor_flags()
    if flags is None or "avx512bw" in flags or platform.machine() == "aarch64":
        return precision
    warnings.warn("this CPU has no recurrent cells in bfloat16: float32 instead", PrecisionWarning, stacklevel=3)
    return "float32"


def precision_note(precision: str, device: torch.device) -> str | None:
    """What a user should know of a precision on this machine, a line; ``None`` where there is nothing to say."""
    if precision != "bf16":
        return None
    if device.type == "cuda":
        slow = torch.cuda.get_device_capability(device) < (8, 0)
        return "this GPU has no bfloat16 units: bf16 will be slower than float32" if slow else None
    flags = processor_flags()
    if flags is None or flags & _BF16_FLAGS:
        return None
    return "this CPU has no bfloat16 units: bf16 will be slower than float32"


@contextmanager
def rounding(precision: str, device: torch.device, *, cudnn_enabled: bool = True) -> Iterator[None]:
    """What a process must be told for a precision; afterwards it is as before.

    On a GPU also: convolutions by algorithms that give the same bits each time.

    Args:
        precision: of `PRECISIONS`.
        device: where is computed; on a CPU there is nothing to tell.
        cudnn_enabled: whether NVIDIA's kernels may be taken, some of which have no second derivative.
    """
    if device.type != "cuda":
        yield
        return
    backends: Any = torch.backends
    cudnn, matmul, tf32 = backends.cudnn, backends.cuda.matmul, precision == "tf32"
    with warnings.catch_warnings():
        # Newer releases have other names for these; only the old ones set both, and readers of either agree.
        warnings.simplefilter("ignore")
        before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.enabled
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.enabled = tf32, tf32, True, cudnn_enabled
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.enabled = before


def attention_by_formula() -> AbstractContextManager[object]:
    """Inside, attention is computed by kernels that have a second derivative; a setting of the process."""
    return sdpa_kernel(SDPBackend.MATH)


@contextmanager
def twice_differentiable(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, this thread computes in a precision, and attention by kernels that have a second derivative."""
    with autocasting(precision, device), attention_by_formula():
        yield


def autocasting(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside, this thread computes in a precision; nothing changes for anything but ``bf16``."""
    if precision != "bf16":
        return nullcontext()
    # Its cache of rounded weights knows nothing of functional gradients.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
