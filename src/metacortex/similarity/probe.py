"""The probe: a trained network through whose features and weights tasks are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.data.ink import frame
from metacortex.errors import LearnerError
from metacortex.learners.base import Learner
from metacortex.nn.body import Body
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import Statistics, running_statistics, statistics_pass

__all__ = ["Probe", "default_probe", "fit_head", "probe_of"]

_CHUNK = 512
"""Examples embedded at once: bounds memory, changes no answer."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A feature extractor with fixed weights.

    Attributes:
        module: maps inputs to features ``[N, D]``, each example for itself; in evaluation mode.
        statistics: of batch-norm layers, by layer name.
        prepare: brings inputs to the form that the network knows.
    """

    module: nn.Module
    statistics: Statistics = field(default_factory=dict)
    prepare: Callable[[Tensor], Tensor] | None = None

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, detached."""
        return {name: p.detach() for name, p in self.module.named_parameters()}

    def prepared(self, inputs: Tensor) -> Tensor:
        """The inputs as the network knows them."""
        return inputs if self.prepare is None else self.prepare(inputs)

    def features(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Features ``[N, D]`` of prepared inputs with these weights."""
        with statistics_pass(self.statistics):
            return functional_call(self.module, dict(weights), (inputs,)).flatten(1)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Features ``[N, D]`` of inputs as they come, without a graph."""
        with torch.no_grad():
            return torch.cat([self.features(self.weights(), part) for part in self.prepared(inputs).split(_CHUNK)])


def probe_of(learner: Learner) -> Probe:
    """The body of a trained learner as a probe; of a classifier, what comes before its head.

    Args:
        learner: with a `metacortex.nn.body.Body` as ``body``; its batch norm, if any, must keep running statistics,
            as those of a batch would let examples see each other.

    Raises:
        LearnerError: if it has no body, or one without running statistics.
    """
    body: Any = getattr(learner, "body", None)
    if not isinstance(body, Body):
        raise LearnerError(f"'{learner.name}' has no network to see tasks through: use a learner with a backbone")
    given = running_statistics(body.model)
    if given and body.norm not in ("running", "per-step"):
        raise LearnerError(
            f"the batch norm of '{learner.name}' takes its statistics from the batch (norm '{body.norm}'): examples "
            "would see each other; use a run with norm 'running', or without batch norm"
        )
    if given and body.norm == "per-step":
        given = body.given(0) or given
    model = body.model
    module = model.backbone if isinstance(model, Classifier) else model
    return Probe(module.eval(), {name: (mean.detach(), var.detach()) for name, (mean, var) in given.items()})


def default_probe(shape: tuple[int, ...]) -> Probe:
    """The image weights that come with the package; drawings are cut to their ink, as in its training.

    Args:
        shape: of the inputs that it will see.

    Raises:
        LearnerError: if these are no grey images.
    """
    if len(shape) != 3 or shape[0] != 1:
        raise LearnerError(
            f"the network that comes with the package sees grey images [1, height, width], these inputs are {shape}: "
            "give a run whose backbone takes them"
        )
    from metacortex.estimators.source import default_source

    source = default_source()
    found, side = probe_of(source.learner), source.shape[-1]
    return Probe(found.module, found.statistics, lambda inputs: _framed(inputs, side))


def _framed(inputs: Tensor, side: int) -> Tensor:
    images = (255 * inputs[:, 0]).clamp(0, 255).numpy()
    return torch.from_numpy(np.stack([frame(image, side) for image in images])).to(inputs.dtype)[:, None] / 255.0


def fit_head(features: Tensor, targets: Tensor, way: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Softmax regression on features: min over W, b of the mean cross-entropy + penalty/2 · ‖W‖², by L-BFGS.

    Args:
        features: ``[N, D]``.
        targets: ``[N]`` in ``0 .. way-1``.
        way: number of classes.
        penalty: positive.

    Returns:
        W ``[D, way]`` and b ``[way]`` in the dtype of the features.
    """
    z = np.c_[features.double().numpy(), np.ones(len(features))]
    slots = np.eye(way)[targets.numpy()]
    shrink = penalty * np.r_[np.ones(z.shape[1] - 1), 0.0][:, None]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(z.shape[1], way)
        logits = z @ w
        logits -= logits.max(1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(1, keepdims=True))
        value = -((logits - log_sum) * slots).sum() / len(z) + 0.5 * (shrink * w * w).sum()
        slope = z.T @ (np.exp(logits - log_sum) - slots) / len(z) + shrink * w
        return float(value), slope.ravel()

    solved = minimize(objective, np.zeros(z.shape[1] * way), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    w = torch.from_numpy(solved.x.reshape(z.shape[1], way)).to(features.dtype)
    return w[:-1], w[-1]
