"""MAML on a module of your own, tested on scripts that it has never seen.

    python examples/own_module.py [--steps 1000] [--tasks 200]

About a minute on one core.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from metacortex.data.registry import load_dataset
from metacortex.engine.gradient import meta_gradient
from metacortex.evaluation.evaluate import evaluate
from metacortex.evaluation.results import compare
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.tasks.episodes import Episodes, EpisodeSpec


class Residual(nn.Module):
    """A small residual network from images ``[N, 1, 28, 28]`` to logits ``[N, way]``."""

    def __init__(self, way: int, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 5, stride=4)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.head = nn.Linear(width * 6 * 6, way)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        x = self.first(images).relu()
        x = x + self.norm(self.inner(x)).relu()
        return self.head(x.flatten(1))


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=200, help="test tasks")
    options = parser.parse_args()

    data, spec = load_dataset("glyphs"), EpisodeSpec(way=5, shot=1, queries=5)
    train = Episodes(data.split("train"), spec, seed=0, split="train")
    test = Episodes(data.split("test"), spec, seed=0, split="test")

    torch.manual_seed(0)
    learner = MAML(Residual(spec.range_of("way")[1]), inner_lr=0.1, inner_steps=3)
    adam = torch.optim.Adam(learner.parameters(), lr=1e-3)
    for step in range(options.steps):
        gradient, outcome = meta_gradient(learner, train.batch(range(4 * step, 4 * step + 4)))
        for name, parameter in learner.named_parameters():
            parameter.grad = gradient[name]
        adam.step()
        if step % 100 == 0:
            print(f"step {step}: loss {float(outcome.loss):.3f}")

    adapted = evaluate(learner, test, tasks=options.tasks)
    pixels = evaluate(NearestNeighbour(), test, tasks=options.tasks)
    print(f"MAML: {adapted}")
    print(f"nearest neighbour by pixels: {pixels}")
    print(f"paired difference: {compare(adapted, pixels)}")


if __name__ == "__main__":
    main()
