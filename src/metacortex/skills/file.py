"""The file of a skill: tensors and a JSON header in one safetensors file.

The header is the text ``metacortex_skill`` of the file's metadata, version 1:

    {"version": 1,
     "created_by": "metacortex 0.1.0",
     "learner": {...},             name, options, backbone, input shape: enough to build it again
     "norm": "running",            batch-norm policy, null for a learner without one
     "classes": ["cat", ...],      class names, by slot
     "images": {...},              how images are read, see `metacortex.skills.images.ImageReader`
     "support": {...},             file name and class slot of each example
     "calibration": {...},         threshold of "none of these", temperature of the probabilities
     "state": {...},               structure of the learner's state
     "aliases": {...},             tensors that are stored once under another name
     "sha256": "9f2c..."}          of the tensors and of all the above

A skill that is no classifier of images says so in ``"kind"`` and has other keys (see `metacortex.skills.text`).
Keys may be added; the meaning of these does not change within a version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from metacortex.errors import RunError
from metacortex.runs.files import write_file

__all__ = ["SKILL_VERSION", "read_skill_file", "write_skill_file"]

SKILL_VERSION = 1
_KEY = "metacortex_skill"
_SNIFF = 4096
"""Bytes in which the key of a skill's header is found: safetensors writes the metadata first."""
_MAKE = "make one with `metacortex adapt RUN FOLDER --out SKILL`"


def write_skill_file(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a skill atomically; a file that was there stays whole if anything goes wrong.

    Args:
        path: the file; missing parent folders are made.
        header: JSON-able, see the module; version, aliases and sum are added.
        tensors: name -> tensor on the CPU.

    Raises:
        RunError: if the disk is full, the file cannot be written, or there is a file that is no skill.
    """
    _refuse_to_replace(path)
    stored, aliases = _deduplicate(tensors)
    content = {"version": SKILL_VERSION, **header, "aliases": aliases}
    text = _dump({**content, "sha256": _sum(stored, _dump(content))})
    data = safetensors.torch.save(stored, {_KEY: text})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
    except OSError as error:
        raise RunError(f"cannot write the skill {path}: {error.strerror or error}") from error


def read_skill_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors.

    Raises:
        RunError: if the file is missing, no skill, damaged, or a newer metacortex wrote it.
    """
    data = _read_bytes(path)
    header = _header(path, data)
    try:
        stored = safetensors.torch.load(data)
        whole = header.pop("sha256") == _sum(stored, _dump(header))
        tensors = {**stored, **{name: stored[source] for name, source in header["aliases"].items()}}
    except (SafetensorError, KeyError, AttributeError, ValueError) as error:
        raise RunError(_damaged(path, f"its tensors cannot be read ({error})")) from None
    if not whole:
        raise RunError(_damaged(path, "its content does not match its checksum"))
    return header, tensors


def _refuse_to_replace(path: Path) -> None:
    # A slip of the keyboard must not cost anybody a photo.
    if path.is_dir():
        raise RunError(f"cannot write the skill {path}: it is a folder; a skill is one file, give it another name")
    if path.is_file() and path.stat().st_size:
        with open(path, "rb") as file:
            start = file.read(_SNIFF)
        if _KEY.encode() not in start:
            raise RunError(f"cannot write the skill {path}: there is a file that is not a skill; give another name")


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        run = (path / "run.json").is_file()
        raise RunError(
            f"{path} is a run, not a skill: first teach it your classes, `metacortex adapt {path} FOLDER --out SKILL`"
            if run
            else f"{path} is a folder, not a skill: a skill is one file; {_MAKE}"
        )
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"there is no skill {path}; {_MAKE}") from None
    except OSError as error:
        raise RunError(f"cannot read the skill {path}: {error.strerror or error}") from error


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON header, taken from the file by hand: safetensors hands it out for files only, not for bytes."""
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise ValueError("too short")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        if _KEY.encode() in data[:_SNIFF]:
            raise RunError(_damaged(path, "it is cut short or its header cannot be read")) from None
        raise RunError(f"{path} is not a skill of metacortex; {_MAKE}") from None
    if _KEY not in metadata:
        raise RunError(f"{path} holds tensors, but it is not a skill of metacortex; {_MAKE}")
    try:
        header = json.loads(metadata[_KEY])
        version = header["version"]
        if not isinstance(version, int):
            raise TypeError("version")
    except (ValueError, KeyError, TypeError):
        raise RunError(_damaged(path, "its header cannot be read")) from None
    if version > SKILL_VERSION:
        raise RunError(
            f"{path} has skill format {version}, this metacortex knows up to {SKILL_VERSION}: update metacortex"
        )
    return header


def _deduplicate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    # Some learners keep the support set itself: it would be there twice, as state and as what is shown.
    stored: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = _sum({"": tensor})
        if key in first:
            aliases[name] = first[key]
        else:
            first[key] = name
            # A copy, because safetensors refuses tensors that share memory (tied weights).
            stored[name] = tensor.clone().contiguous()
    return stored, aliases


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False)


def _sum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> str:
    return f"the skill {path} is damaged: {why}; restore it from a copy, or {_MAKE}"
