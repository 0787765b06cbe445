"""Backbones by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import nn

from metacortex.errors import unknown_name
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.nn.mlp import MLP, MLPSettings
from metacortex.nn.resnet12 import ResNet12, ResNet12Settings
from metacortex.nn.seq2seq import Seq2SeqSettings, Seq2SeqShape
from metacortex.nn.sequence import SequenceNet, SequenceNetSettings

__all__ = ["backbone_names", "backbone_settings", "is_convolutional", "make_backbone"]

_BACKBONES: dict[str, tuple[Callable[..., nn.Module], type]] = {
    "conv4": (Conv4, Conv4Settings),
    "lstm": (SequenceNet, SequenceNetSettings),
    "mlp": (MLP, MLPSettings),
    "resnet12": (ResNet12, ResNet12Settings),
    "seq2seq": (Seq2SeqShape, Seq2SeqSettings),
}


_CONVOLUTIONAL = ("conv4", "resnet12")


def is_convolutional(name: str) -> bool:
    """Whether a backbone of this name has two-dimensional convolutions."""
    return name in _CONVOLUTIONAL


def backbone_names() -> list[str]:
    """Names of the backbones, sorted."""
    return sorted(_BACKBONES)


def backbone_settings(name: str) -> type:
    """The frozen dataclass of a backbone's settings.

    Raises:
        SettingsError: for an unknown name, naming the nearest one.
    """
    if name not in _BACKBONES:
        raise unknown_name("backbone", name, _BACKBONES)
    return _BACKBONES[name][1]


def make_backbone(name: str, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    """Build a backbone; it has an attribute ``features``, the length of its output.

    Args:
        name: see `backbone_names`.
        input_shape: shape of one input, e.g. ``(1, 28, 28)``.
        options: fields of its settings.

    Raises:
        SettingsError: for an unknown name or option.
    """
    settings = backbone_settings(name)
    known = {f.name for f in dataclasses.fields(settings)}
    for key in options:
        if key not in known:
            raise unknown_name(f"setting of {name}", key, known)
    return _BACKBONES[name][0](input_shape, settings(**options))
