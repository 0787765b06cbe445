"""A prototypical network on Omniglot, from settings to a compared figure, all in Python.

    metacortex data add omniglot --from FOLDER_WITH_THE_TWO_ZIPS
    python examples/omniglot_protonet.py [--steps 2000] [--tasks 600] [--out runs/omniglot]

Where METACORTEX_DATA is set, the archives are taken from there.
"""

from __future__ import annotations

import argparse

from metacortex.evaluation.run import evaluate_run
from metacortex.settings import from_mapping
from metacortex.training.run import train


def main() -> None:
    """Train, evaluate 1-shot and 5-shot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=600, help="test tasks")
    parser.add_argument("--out", default="runs/omniglot")
    options = parser.parse_args()

    settings = from_mapping(
        {
            "learner": {"name": "protonet"},
            "backbone": {"name": "conv4"},
            "data": {"name": "omniglot", "protocol": "vinyals", "way": 5, "shot": 1},
            "training": {"steps": options.steps, "validation_tasks": options.tasks, "seed": 0},
        }
    )
    result = train(settings, options.out)
    print(f"best validation accuracy {result.best_score} at step {result.best_step}")
    for shot in (1, 5):
        print(evaluate_run(options.out, shot=shot, tasks=options.tasks))


if __name__ == "__main__":
    main()
