"""Where tensors live and are computed with: the CPU or a GPU."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import nn

from metacortex.errors import SettingsError

__all__ = ["device_name", "device_of", "random_devices", "resolve_device"]


def resolve_device(name: str = "auto", *, local_rank: int = 0) -> torch.device:
    """The device that settings and flags name.

    Args:
        name: ``"auto"`` (a GPU where there is one, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        local_rank: of several processes on a machine; each takes a GPU of its own where ``name`` gives no number.

    Raises:
        SettingsError: for another name, or a GPU that is not there.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and (kind != "cuda" or not number.isdecimal())):
        raise SettingsError(f"device: expected auto, cpu, cuda or cuda:N, got '{name}'")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = "sees no GPU (see nvidia-smi)" if torch.version.cuda else "is a build for CPUs alone"
        raise SettingsError(f"device {name}: PyTorch {torch.__version__} {built}; choose cpu or auto")
    count = torch.cuda.device_count()
    index = int(number) if number else local_rank % count
    if index >= count:
        raise SettingsError(f"device {name}: there are {count} GPUs, numbered from 0; choose one of them, cpu or auto")
    return torch.device("cuda", index)


def device_of(module: nn.Module) -> torch.device:
    """Where the tensors of a module are; the CPU for one without any."""
    first = next((x for tensors in (module.parameters(), module.buffers()) for x in tensors), None)
    return torch.device("cpu") if first is None else first.device


def random_devices(device: torch.device) -> list[torch.device]:
    """Devices whose random state `torch.random.fork_rng` must keep, beside that of the CPU."""
    return [device] if device.type == "cuda" else []


def device_name(device: torch.device) -> str:
    """The make of a device, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    make = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return make or platform.processor() or platform.machine() or "CPU"
