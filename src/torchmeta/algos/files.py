"""Algorithms on disk: one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from metacortex.errors import RunError
from metacortex.runs.checkpoint import load_weights
from metacortex.training.optimizer import load_optimizer, optimizer_tensors

__all__ = ["Contents", "read_file", "write_file"]

_FORMAT = 1


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        path: the file.
        facts: what the learner was built for.
        model: its tensors.
        optimizer: those of the outer optimizer.
    """

    path: Path
    facts: dict[str, Any]
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]

    def restore(self, learner: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Put the tensors into a learner and its optimizer.

        Raises:
            RunError: if they belong to others.
        """
        load_weights(learner, self.model, str(self.path))
        load_optimizer(learner, optimizer, self.optimizer, str(self.path))


def write_file(
    path: Path, name: str, facts: Mapping[str, Any], learner: nn.Module, optimizer: torch.optim.Optimizer | None
) -> None:
    """Write an algorithm, whole or not at all.

    Raises:
        RunError: if the file cannot be written.
    """
    tensors = {f"model/{k}": v for k, v in learner.state_dict().items()}
    tensors |= {f"optimizer/{k}": v for k, v in optimizer_tensors(learner, optimizer).items()}
    packed = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    header = {"format": str(_FORMAT), "algorithm": name, "facts": json.dumps(dict(facts))}
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(packed, temporary, metadata=header)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: Path, name: str) -> Contents:
    """Read an algorithm.

    Raises:
        RunError: for a missing, damaged or newer file, or one of another algorithm.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        version, facts = int(header["format"]), dict(json.loads(header["facts"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{path} holds no saved algorithm, or is damaged ({error})") from None
    if version > _FORMAT:
        raise RunError(f"{path} was written by a newer metacortex: update metacortex")
    if header.get("algorithm") != name:
        raise RunError(f"{path} holds '{header.get('algorithm')}', not '{name}'")
    model, optimizer = (
        {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        for start in ("model/", "optimizer/")
    )
    return Contents(path, facts, model, optimizer)
