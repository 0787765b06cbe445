"""Checkpoints: the tensors of a learner and its optimiser as safetensors, the rest as JSON.

A checkpoint is a directory with ``model.safetensors``, ``optimizer.safetensors`` and
``state.json``; the last holds the sums of the other two, so that damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from metacortex.errors import RunError
from metacortex.runs.files import find_directory, replace_directory

__all__ = ["CHECKPOINT_VERSION", "Checkpoint", "load_checkpoint", "load_weights", "save_checkpoint"]

CHECKPOINT_VERSION = 1
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        model: name -> tensor, the learner's ``state_dict``.
        optimizer: name -> tensor, see `metacortex.training.optimizer`.
        state: JSON-able numbers of the trainer; ``step`` is always there.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=lambda: {"step": 0})


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Replace a checkpoint atomically; whatever happens, a complete one can be loaded after.

    Raises:
        RunError: if the disk is full or cannot be written; the previous checkpoint is intact.
    """
    files = {_MODEL: _pack(checkpoint.model), _OPTIMIZER: _pack(checkpoint.optimizer)}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    state = {"version": CHECKPOINT_VERSION, **checkpoint.state, "sha256": sums}
    files[_STATE] = (json.dumps(state, indent=1, allow_nan=False) + "\n").encode()
    try:
        replace_directory(directory, files)
    except OSError as error:
        before = "none was saved before" if find_directory(directory) is None else "the checkpoint before it is intact"
        raise RunError(
            f"cannot save the checkpoint of step {checkpoint.state.get('step')} in {directory}: "
            f"{error.strerror or error}; {before}"
        ) from error


def load_checkpoint(directory: Path, *, weights_only: bool = False) -> Checkpoint:
    """Read the newest complete checkpoint that was saved under a name.

    Args:
        directory: the name.
        weights_only: leave the optimiser alone, which nobody but a run that goes on needs; its file may be missing, so
            that a run can be passed on in a third of its size.

    Raises:
        RunError: if there is none, it is damaged, or a newer metacortex wrote it.
    """
    for attempt in range(3):
        found = find_directory(directory)
        if found is None:
            raise RunError(f"no checkpoint in {directory}: the run has not saved one yet, or this is another folder")
        try:
            return _read(found, (_MODEL,) if weights_only else (_MODEL, _OPTIMIZER))
        except FileNotFoundError as error:
            # A training process may be replacing it right now: look again before calling it damaged.
            if attempt == 2:
                raise RunError(_damaged(found, f"{Path(error.filename).name} is missing")) from None
    raise AssertionError("unreachable")


def load_weights(learner: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy checkpointed tensors into a learner that has exactly the same names and shapes.

    Args:
        learner: what receives them.
        tensors: name -> tensor.
        where: what they come from, for the message.

    Raises:
        RunError: naming the tensors that differ.
    """
    own = learner.state_dict()
    wrong = [f"{n} is missing" for n in own if n not in tensors]
    wrong += [f"{n} is not part of this learner" for n in tensors if n not in own]
    wrong += [
        f"{n} is {list(tensors[n].shape)}, expected {list(own[n].shape)}"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise RunError(
            f"{where} is the checkpoint of another model: {'; '.join(wrong[:4])}{more}; "
            "use it with the settings it was trained with"
        )
    learner.load_state_dict(dict(tensors))


def _read(directory: Path, parts: tuple[str, ...]) -> Checkpoint:
    try:
        state = json.loads((directory / _STATE).read_bytes())
        version, sums = int(state.pop("version")), dict(state.pop("sha256"))
        if version > CHECKPOINT_VERSION:
            raise RunError(
                f"{directory} has checkpoint format {version}, this metacortex knows up to {CHECKPOINT_VERSION}: "
                "update metacortex"
            )
        if not isinstance(state["step"], int):
            raise ValueError("step")
        data = {name: (directory / name).read_bytes() for name in parts}
        for name, content in data.items():
            if hashlib.sha256(content).hexdigest() != sums[name]:
                raise RunError(_damaged(directory, f"{name} does not match its checksum"))
        tensors = {name: safetensors.torch.load(content) for name, content in data.items()}
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(_damaged(directory, f"{_STATE} or its tensors cannot be read ({error})")) from error
    return Checkpoint(tensors[_MODEL], tensors.get(_OPTIMIZER, {}), state)


def _damaged(directory: Path, why: str) -> str:
    other = "best" if directory.name.startswith("last") else "last"
    return f"the checkpoint {directory} is damaged: {why}; restore it from a copy, or use checkpoints/{other}"


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    # Copies, because safetensors refuses tensors that share memory (tied weights).
    return safetensors.torch.save({name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()})
