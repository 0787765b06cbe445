"""What a run writes down about itself when it begins."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from metacortex.engine.devices import device_name
from metacortex.native.kernels import kernels_note

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.runs.domain import Domain
    from metacortex.settings import RunSettings

__all__ = ["has_convolutions", "run_record"]


def has_convolutions(learner: Learner) -> bool:
    """Whether something in a learner is computed by kernels where there are any."""
    return any(isinstance(module, nn.Conv2d) for module in learner.modules())


def run_record(
    settings: RunSettings,
    learner: Learner,
    domain: Domain,
    description: dict[str, Any] | None,
    tasks: Any,
    validation: Any | None,
    command: Sequence[str] | None,
    processes: int = 1,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """The content of ``run.json``, as plain values.

    Args:
        settings: of the run.
        learner: what is trained.
        domain: where its tasks come from.
        description: what builds the learner again; ``None`` for one that was passed in Python.
        tasks: meta-training tasks, ``None`` for learners that do not learn.
        validation: validation tasks, ``None`` to go without.
        command: the command line; ``sys.argv`` when ``None``.
        processes: that share the tasks of each step.
        device: of the learner; the CPU if not given.
    """
    device = torch.device("cpu") if device is None else device
    return {
        "learner": description or {"name": learner.name, "custom": True},
        "protocol": {
            "data": domain.protocol,
            "train": None if tasks is None else tasks.protocol,
            "val": None if validation is None else validation.protocol,
        },
        "norm": getattr(getattr(learner, "body", None), "norm", None),
        "strategy": settings.training.strategy,
        "precision": settings.training.precision,
        "data": {
            "name": domain.name,
            "fingerprint": domain.fingerprint,
            "provenance": dict(domain.provenance),
            "classes": dict(domain.splits),
        },
        "versions": {
            "metacortex": _version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "system": platform.platform(),
            "device": str(device),
            "device_name": device_name(device),
            "kernels": kernels_note() if device.type == "cpu" and has_convolutions(learner) else None,
            "threads": torch.get_num_threads(),
            "processes": processes,
        },
        "command": list(sys.argv if command is None else command),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version() -> str:
    try:
        return version("metacortex")
    except PackageNotFoundError:
        return "unknown"
