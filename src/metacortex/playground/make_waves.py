"""Trains the network of the function tab and writes its weights: about two minutes on one core.

python -m metacortex.playground.make_waves src/metacortex/playground/weights/waves.safetensors
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import safetensors.torch
import torch

from metacortex.engine.gradient import meta_gradient
from metacortex.evaluation.evaluate import evaluate
from metacortex.learners.gradient.base import GradientLearner
from metacortex.playground.waves import INNER_LR, INNER_STEPS, SHOWN_STEPS, make_wave_learner
from metacortex.runs.files import write_file
from metacortex.tasks.functions import make_functions

__all__ = ["main", "train_waves"]

STEPS, TASKS, RATE, SHOTS, QUERIES = 2000, 25, 2e-3, (2, 3, 4, 5, 6, 8, 10), 10


def train_waves(steps: int = STEPS) -> GradientLearner:
    """Meta-train on sinusoids of 2 to 10 points; a pure function of the number of steps."""
    learner = make_wave_learner()
    sources = [make_functions("sinusoid", shot=shot, queries=QUERIES, seed=0) for shot in SHOTS]
    adam = torch.optim.Adam(learner.parameters(), lr=RATE)
    learner.train()
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = sources[step % len(sources)].batch(range(TASKS * step, TASKS * (step + 1)))
        gradient, _ = meta_gradient(learner, batch, strategy="vmap")
        for name, parameter in learner.named_parameters():
            parameter.grad = gradient[name]
        # Five steps on a steep task can explode: the gradient is cut to a length, and left out where it has none.
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)):
            adam.step()
    return learner.eval()


def main(arguments: list[str]) -> int:
    """``FILE [STEPS]``."""
    steps = int(arguments[1]) if len(arguments) > 1 else STEPS
    learner = train_waves(steps)
    facts = {
        "learner": f"maml, inner_lr {INNER_LR:g}, {INNER_STEPS} inner steps, 1-40-40-1",
        "steps": steps,
        "tasks": TASKS,
        "shots": list(SHOTS),
        "shown steps": SHOWN_STEPS,
        "test mse": {
            str(shot): round(
                evaluate(learner, make_functions("sinusoid", shot=shot, queries=50, split="test"), tasks=200).mean, 3
            )
            for shot in (3, 5, 10)
        },
    }
    tensors = {name: value.contiguous() for name, value in learner.state_dict().items()}
    write_file(Path(arguments[0]), safetensors.torch.save(tensors, {"training": json.dumps(facts)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
