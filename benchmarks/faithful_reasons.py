"""Are the reasons of a run's learner true? Those of untrained learners are put to the same test.

python benchmarks/faithful_reasons.py runs/proto --tasks 300 --way 5 --shot 5
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from metacortex.evaluation.intervals import Interval
from metacortex.evaluation.run import load_run
from metacortex.explain.faithful import Check, Faithfulness, check_faithfulness
from metacortex.learners.base import Learner
from metacortex.runs.build import build_learner
from metacortex.runs.domain import open_domain
from metacortex.settings import DataSettings


def untrained(description: dict, norm: str | None, seed: int) -> Learner:
    """A learner as a run describes it, with fresh weights."""
    return build_learner(description, seed=seed, **({} if norm is None else {"norm": norm})).eval()


def lines(name: str, found: Faithfulness) -> list[str]:
    """A line for each check."""

    def line(what: str, check: Check) -> str:
        verdict = "passes" if check.passes else "fails"
        return f"{name:<9} {what:<36} random: {text(check.random)}  untrained: {text(check.untrained)}  {verdict}"

    def text(i: Interval | None) -> str:
        return "" if i is None else f"{i.mean:+.3f} [{i.low:+.3f}, {i.high:+.3f}]"

    said = [line("examples, the query (log-odds)", found.examples)]
    said.append(line("examples, other queries (log-odds)", found.elsewhere))
    return said if found.pixels is None else [*said, line("pixels (probability)", found.pixels)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=5)
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--norm", default=None, help="another norm policy than that of the run")
    parser.add_argument("--out", type=Path, default=None, help="write JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_run(options.run, norm=options.norm)
    assert isinstance(loaded.settings.data, DataSettings)
    data = replace(loaded.settings.data, way=options.way, shot=options.shot, queries=options.queries)
    tasks = open_domain(data, loaded.folder.path).tasks("test", data)
    description = loaded.folder.info()["learner"]
    one, other = (untrained(description, options.norm, seed) for seed in (101, 102))
    found = {}
    for name, by in (("learner", None), ("untrained", other)):
        began, used = time.perf_counter(), time.process_time()
        found[name] = check_faithfulness(loaded.learner, tasks, options.tasks, explained_by=by, untrained=one)
        print("\n".join(lines(name, found[name])))
        print(f"{time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of a core", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps({k: v.to_json() for k, v in found.items()}, indent=1))


if __name__ == "__main__":
    main()
