"""Adapted predictors, and whole learners, as graphs that run without this library.

Two things can be exported: what adaptation left behind (inputs → answers), for every learner; and, for learners
whose adaptation is a formula and not a loop of gradients, the learner itself: (support inputs, labels, query
inputs) → answers, one graph that learns at run time.

What ONNX has no operator for is written out in elementary ones, see `metacortex.estimators.write_out`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import LearnerError, MissingExtraError, SettingsError, first_line
from metacortex.estimators.adapted import HeadAdapted, LearnerAdapted
from metacortex.estimators.features import NetFeatures, TableFeatures, net_channels
from metacortex.estimators.heads import Head
from metacortex.estimators.write_out import WriteOut
from metacortex.learners.base import Learner, Predictor
from metacortex.task import Examples
from metacortex.tree import tree_flatten, tree_unflatten

__all__ = ["AdaptedModule", "EpisodeModule", "adapted_module", "export_module", "export_program"]

_TOLERANCE = 1e-3
"""Largest difference from PyTorch's answers, relative to their largest, that an export may have."""


class AdaptedModule(nn.Module):
    """What a `Predictor` does, as a module: inputs ``[N, ...]`` → logits or values.

    Args:
        predictor: what adaptation left behind.
        temperature: the answers are divided by it.
    """

    def __init__(self, predictor: Predictor, temperature: float = 1.0) -> None:
        super().__init__()
        self.learner = _frozen(predictor.learner)
        leaves, self._structure = tree_flatten(predictor.state)
        self._places = [isinstance(leaf, Tensor) for leaf in leaves]
        self._constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                self.register_buffer(f"state_{place}", leaf.detach().clone())
        self.temperature = temperature

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values."""
        leaves = [
            getattr(self, f"state_{place}") if tensor else constant
            for place, (tensor, constant) in enumerate(zip(self._places, self._constants, strict=True))
        ]
        return self.learner.predict(tree_unflatten(leaves, self._structure), inputs) / self.temperature


class EpisodeModule(nn.Module):
    """A whole learner as a module: (support inputs, labels, query inputs) → logits ``[N, way]`` or values.

    Args:
        learner: of the metric family, with a closed form or a convex problem, or one that reads its support set.
        way: number of classes; ``None`` for regression.
    """

    def __init__(self, learner: Learner, way: int | None) -> None:
        super().__init__()
        self.learner, self.way = _frozen(learner), way

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Learn ``support`` ``[M, ...]`` with ``labels`` ``[M]`` int64 (values ``[M, outputs]``), answer ``query``."""
        classes = None if self.way is None else torch.ones(self.way, dtype=torch.bool, device=labels.device)
        state = self.learner.adapt(Examples(support, labels, classes=classes))
        return self.learner.predict(state, query)


class HeadModule(nn.Module):
    """A closed-form head on features, as a module.

    Args:
        head: fitted.
        features: of a table, or of a network.
        offset, unit: of the values: scores · unit + offset.
    """

    anchors: Tensor
    weights: Tensor
    bias: Tensor
    center: Tensor
    unit: Tensor
    offset: Tensor

    def __init__(self, head: Head, features: Any, offset: Any = 0.0, unit: Any = 1.0) -> None:
        super().__init__()
        for name in ("center", "anchors", "weights", "bias"):
            self.register_buffer(name, _float(getattr(head, name)))
        self.rate = head.rate
        self.register_buffer("offset", _float(offset))
        self.register_buffer("unit", _float(unit))
        if isinstance(features, NetFeatures):
            self.features: nn.Module = _NetModule(features)
        elif isinstance(features, TableFeatures):
            self.features = _TableModule(features)
        else:
            raise LearnerError(f"features of type {type(features).__name__} cannot be exported")

    def forward(self, inputs: Tensor) -> Tensor:
        """Calibrated logits ``[N, way]``, or values ``[N, outputs]``."""
        z = self.features(inputs)
        if self.rate:
            apart = (z * z).sum(1)[:, None] + (self.anchors * self.anchors).sum(1) - 2.0 * z @ self.anchors.T
            scores = torch.exp(-self.rate * apart.clamp_min(0)) @ self.weights + self.bias
        else:
            scores = (z - self.center) @ self.weights + self.bias
        return scores * self.unit + self.offset


class _TableModule(nn.Module):
    mean: Tensor
    scale: Tensor

    def __init__(self, features: TableFeatures) -> None:
        super().__init__()
        self.register_buffer("mean", _float(features.mean))
        self.register_buffer("scale", _float(features.scale))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.scale


class _NetModule(nn.Module):
    def __init__(self, features: NetFeatures) -> None:
        super().__init__()
        self.learner = _frozen(features.learner)
        self.unit, self.pixel_scale, self.colour_scale = features.unit, features.pixel_scale, features.colour_scale

    def forward(self, inputs: Tensor) -> Tensor:
        channels = net_channels(inputs.shape[1]) if inputs.dim() == 4 else inputs.shape[1]
        seen, colours = inputs[:, :channels], inputs[:, channels:]
        body: Any = self.learner.body
        parts = [body(body.weights(), seen, body.given(0))[0] / self.unit]
        if self.pixel_scale:
            parts.append(self.pixel_scale * F.avg_pool2d(seen, 2).flatten(1))
        if self.colour_scale:
            parts.append(self.colour_scale * colours.flatten(1))
        return torch.cat(parts, 1)


def adapted_module(estimator: Any) -> nn.Module:
    """A fitted estimator as a module: prepared inputs → calibrated logits or values.

    Prepared inputs are what ``estimator.prepare(X)`` gives.
    """
    if hasattr(estimator, "adapted_"):
        adapted = estimator.adapted_
        if isinstance(adapted, LearnerAdapted):
            return AdaptedModule(adapted.predictor, adapted.temperature).eval()
        assert isinstance(adapted, HeadAdapted)
        return HeadModule(adapted.head, adapted.features, unit=1.0 / adapted.temperature).eval()
    if hasattr(estimator, "predictor_"):
        return AdaptedModule(estimator.predictor_).eval()
    return HeadModule(estimator.head_, estimator.features_, estimator.offset_, estimator.unit_).eval()


def export_program(
    module: nn.Module, examples: Sequence[Tensor], dynamic: Sequence[bool], *, onnx: bool = False
) -> torch.export.ExportedProgram:
    """Trace a module with `torch.export`.

    Args:
        module: in evaluation mode.
        examples: inputs of it, with at least two rows each.
        dynamic: for each input, whether its number of rows may be another at run time.
        onnx: write out what ONNX has no operator for.

    Raises:
        LearnerError: for a module that cannot be traced, e.g. a learner that adapts by gradients as an episode.
    """
    shapes = tuple({0: torch.export.Dim.DYNAMIC} if free else None for free in dynamic)
    try:
        with torch.no_grad(), warnings.catch_warnings(), WriteOut(loops_only=not onnx):
            warnings.simplefilter("ignore")
            return torch.export.export(module, tuple(examples), dynamic_shapes=shapes)
    except Exception as error:  # the tracer raises whatever the traced code leads it to
        raise LearnerError(f"this cannot be exported as one graph: {_root(error)}") from error


def export_module(module: nn.Module, examples: Sequence[Tensor], dynamic: Sequence[bool], path: Path | str) -> Path:
    """Write a module as ``.pt2`` (`torch.export`) or ``.onnx``, and check that the file gives the same answers.

    Args:
        module: see `export_program`, as the rest.
        examples: inputs of it.
        dynamic: which of them may have another number of rows.
        path: its ending decides.

    Raises:
        SettingsError: for another ending.
        MissingExtraError: for ONNX without the extra ``onnx``.
        LearnerError: if it cannot be exported, or the file gives other answers.
    """
    path = Path(path)
    if path.suffix not in (".pt2", ".onnx"):
        raise SettingsError(f"expected a file ending in .pt2 or .onnx, got '{path.name}'")
    program = export_program(module, examples, dynamic, onnx=path.suffix == ".onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = _write_onnx(program, path) if path.suffix == ".onnx" else _write_program(program, path)
    _check(module, run, examples, dynamic, path)
    return path


def _write_program(program: torch.export.ExportedProgram, path: Path) -> Callable[..., np.ndarray]:
    try:
        torch.export.save(program, path)
    except NotImplementedError as error:  # of graphs that hold derivatives taken while tracing
        raise LearnerError(f"this cannot be exported as one graph: {_root(error)}") from error
    loaded = torch.export.load(path).module()
    return lambda *inputs: loaded(*inputs).detach().numpy()


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> Callable[..., np.ndarray]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch.onnx writes with
    except ImportError:
        raise MissingExtraError("export to ONNX", "onnx") from None
    try:
        torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False)
    except Exception as error:  # whatever operator has no counterpart
        raise LearnerError(f"this has no counterpart in ONNX: {_root(error)}") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [place.name for place in session.get_inputs()]
    return lambda *inputs: np.asarray(session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})[0])


def _check(
    module: nn.Module,
    run: Callable[..., np.ndarray],
    examples: Sequence[Tensor],
    dynamic: Sequence[bool],
    path: Path,
) -> None:
    more = [torch.cat([x, x[:1]]) if free else x for x, free in zip(examples, dynamic, strict=True)]
    for inputs in (examples, more):
        with torch.no_grad():
            expected = module(*inputs).numpy()
        came = run(*inputs)
        scale = max(float(np.abs(expected).max()), 1e-6)
        if came.shape != expected.shape or not float(np.abs(came - expected).max()) <= _TOLERANCE * scale:
            raise LearnerError(f"{path} gives other answers than PyTorch: do not use it, and report this")


def _root(error: BaseException) -> str:
    """The first line of what an exporter failed of, and not of what it says around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _frozen(learner: Learner) -> Learner:
    return copy.deepcopy(learner).eval().requires_grad_(False)


def _float(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
