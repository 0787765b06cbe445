"""The second tab: a network that has learned what waves look like fits one to a few points.

MAML on the sinusoids of Finn et al. (2017), §5.1, with five inner steps and tasks of 2 to 10 points. Its weights,
7 kB, come with the package; `metacortex.playground.make_waves` makes them anew.
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.func import functional_call

from metacortex.errors import RunError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.registry import make_learner
from metacortex.nn.mode import evaluating
from metacortex.playground.limits import Refused
from metacortex.task import Examples

__all__ = [
    "DOMAIN",
    "MOST_POINTS",
    "WEIGHTS",
    "check_points",
    "fit_rival",
    "fit_wave",
    "make_wave_learner",
    "wave_learner",
]

WEIGHTS = Path(__file__).parent / "weights" / "waves.safetensors"
DOMAIN, RANGE = 5.0, 7.0
"""Inputs lie in ±5, values in ±7."""
MOST_POINTS = 40
HIDDEN, INNER_LR, INNER_STEPS, SHOWN_STEPS = (40, 40), 0.01, 5, 10
_GRID = 161
_RIVAL_STEPS, _RIVAL_LR = 400, 0.01


def make_wave_learner(seed: int = 0) -> GradientLearner:
    """MAML on a network 1-40-40-1 with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = make_learner(
            "maml", input_shape=(1,), way=1, kind="regression", objective=MeanSquaredError(), backbone="mlp",
            backbone_options={"hidden": HIDDEN}, inner_lr=INNER_LR, inner_steps=INNER_STEPS, eval_steps=SHOWN_STEPS,
            unroll="graph",
        )  # fmt: skip
    assert isinstance(learner, GradientLearner)
    return learner


@cache
def wave_learner() -> tuple[GradientLearner, dict[str, Any]]:
    """The shipped learner and how it was trained.

    Raises:
        RunError: if its file is missing or damaged.
    """
    learner = make_wave_learner()
    try:
        learner.load_state_dict(safetensors.torch.load_file(WEIGHTS))
        with safe_open(WEIGHTS, "pt") as file:
            facts = json.loads((file.metadata() or {})["training"])
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"the weights of the function tab in {WEIGHTS} cannot be read: {error}") from error
    return learner.eval(), facts


def check_points(points: object) -> Tensor:
    """Points ``[N, 2]`` float32 from what a browser sent.

    Raises:
        Refused: for anything but a list of up to 40 pairs of numbers within the picture.
    """
    expected = f"expected a list of up to {MOST_POINTS} points [x, y]"
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise Refused(f"{expected}, got {len(points) if isinstance(points, list) else type(points).__name__}")
    for point in points:
        fine = isinstance(point, list) and len(point) == 2 and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in point
        )  # fmt: skip
        if not fine or not (abs(point[0]) <= DOMAIN and abs(point[1]) <= RANGE):
            raise Refused(f"{expected} with |x| ≤ {DOMAIN:g} and |y| ≤ {RANGE:g}, got {str(point)[:60]}")
    return torch.tensor(points, dtype=torch.float32).reshape(-1, 2)


def fit_wave(points: Tensor) -> dict[str, Any]:
    """The curve before adaptation and after each of 0 … 10 gradient steps on the points.

    Args:
        points: ``[N, 2]``; with none, there is nothing to adapt to.

    Returns:
        ``grid`` (inputs), ``curves`` (a list of values for each step, the first is the prior), ``losses`` (mean
        squared error on the points, empty without any), ``seconds``.
    """
    began = time.perf_counter()
    learner, _ = wave_learner()
    grid = torch.linspace(-DOMAIN, DOMAIN, _GRID)[:, None]
    support = Examples(points[:, :1], points[:, 1:])
    curves, losses = [], []
    with evaluating(learner), torch.no_grad():
        carry = learner.start(support)
        for k in range(SHOWN_STEPS + 1 if len(points) else 1):
            state = learner.finish(carry, support)
            curves.append(_rounded(learner.predict(state, grid)))
            if len(points):
                losses.append(float(((learner.predict(state, points[:, :1]) - points[:, 1:]) ** 2).mean()))
                carry, _ = learner.step(carry, support, k)
    return {"grid": _rounded(grid), "curves": curves, "losses": losses, "seconds": time.perf_counter() - began}


def fit_rival(points: Tensor) -> dict[str, Any]:
    """The same network with random weights, trained on the points alone by 400 steps of Adam.

    Args:
        points: ``[N, 2]``, at least one.
    """
    if not len(points):
        raise Refused("there are no points to train on: click one first", 409)
    began = time.perf_counter()
    body = make_wave_learner(seed=1).body
    weights = {name: w.detach().clone().requires_grad_() for name, w in body.weights().items()}
    optimizer = torch.optim.Adam(list(weights.values()), lr=_RIVAL_LR)
    x, y = points[:, :1], points[:, 1:]
    with torch.enable_grad():
        for _ in range(_RIVAL_STEPS):
            optimizer.zero_grad()
            ((functional_call(body.model, weights, (x,)) - y) ** 2).mean().backward()
            optimizer.step()
    grid = torch.linspace(-DOMAIN, DOMAIN, _GRID)[:, None]
    with torch.no_grad():
        curve = _rounded(functional_call(body.model, weights, (grid,)))
    return {"curve": curve, "steps": _RIVAL_STEPS, "seconds": time.perf_counter() - began}


def _rounded(values: Tensor) -> list[float]:
    return [round(v, 3) for v in values.reshape(-1).tolist()]
