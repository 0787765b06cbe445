"""Which learners can be exported, checked with onnxruntime: what they adapted to, and learning itself as one graph.

python benchmarks/export_learners.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from metacortex.errors import LearnerError
from metacortex.estimators.export import AdaptedModule, EpisodeModule, export_module
from metacortex.learners.objective import MeanSquaredError
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.task import Examples

WHOLE = [False, False, True]
"""Of support inputs, labels and queries: there may be another number of queries."""


def small(name: str, kind: str) -> Any:
    """A learner of three classes or two outputs on four numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        way, options = (3, {}) if kind == "classification" else (2, {"objective": MeanSquaredError()})
        return make_learner(
            name, input_shape=(4,), way=way, train_classes=4, kind=kind, backbone="mlp",
            backbone_options={"hidden": [8]}, **options,
        ).eval()  # fmt: skip


def tried(module: torch.nn.Module, inputs: list[torch.Tensor], dynamic: list[bool], path: Path) -> str:
    """What became of it."""
    began = time.process_time()
    try:
        export_module(module.eval(), inputs, dynamic, path)
    except LearnerError as error:
        return f"no: {error}"
    return f"yes ({time.process_time() - began:.0f} s)"


def main() -> None:
    """A line per learner, kind and file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--only", choices=["adapted", "whole"], default=None)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x, query = torch.randn(9, 4, generator=generator), torch.randn(6, 4, generator=generator)
    y = torch.arange(3).repeat_interleave(3)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or learner_names():
            entry = learner_entry(name)
            for kind in sorted({"classification", "regression"} & set(entry.kinds)):
                learner = small(name, kind)
                values = torch.stack([x.sin().sum(1), x[:, 0]], 1)
                support = Examples(x, values) if kind == "regression" else Examples(x, y, classes=torch.ones(3) > 0)
                with torch.no_grad():
                    adapted = AdaptedModule(learner.bind(learner.adapt(support)))
                said = []
                for ending in ("pt2", "onnx"):
                    path = Path(folder) / f"{name}.{ending}"
                    if options.only != "whole":
                        said.append(f"adapted .{ending} {tried(adapted, [query], [True], path)}")
                    if options.only != "adapted":
                        way, labels = (None, values) if kind == "regression" else (3, y)
                        inputs = [x, labels, query]
                        said.append(f"whole .{ending} {tried(EpisodeModule(learner, way), inputs, WHOLE, path)}")
                sys.stdout.write(f"{name} ({kind}): " + "; ".join(said) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
