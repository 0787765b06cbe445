"""The demo as a user runs it, held to what it promises."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from metacortex.demo.plan import CONTENDERS, settings_of
from metacortex.evaluation.intervals import paired_interval

CORES, MINUTES = 2, 3.0
GIB = 1024**2
"""Kilobytes, the unit of ``ru_maxrss`` on Linux."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The object of ``metacortex demo --json``, with processor seconds and peak memory of the process."""
    out = tmp_path_factory.mktemp("demo")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "metacortex", "demo", "--json", "--out", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout), "cpu_seconds": seconds, "peak": after.ru_maxrss, "out": out}


def scores(demo: dict, learner: str, data: str = "glyphs") -> list[float]:
    row = next(row for row in demo["rows"] if row["learner"] == learner)
    return row["results"][data]["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["protonet", "maml"])
@pytest.mark.parametrize("baseline", ["nearest_neighbour", "fine_tuning"])
def test_meta_learners_beat_the_baselines_on_held_out_scripts(demo, learner, baseline):
    difference = paired_interval(scores(demo, learner), scores(demo, baseline))
    assert difference.low > 0, f"{learner} - {baseline}: {difference}"


@pytest.mark.slow
def test_every_learner_has_an_interval_on_both_tests(demo):
    assert [row["learner"] for row in demo["rows"]] == [c.learner for c in CONTENDERS]
    for row in demo["rows"]:
        for result in row["results"].values():
            assert 0.2 < result["accuracy"] < 1
            assert 0 < result["ci95"] < 0.05
            assert result["tasks"] == len(result["scores"]) == 200


@pytest.mark.slow
def test_it_stays_within_time_and_memory(demo):
    # Processor time, as the cores are shared with other tests here.
    assert demo["cpu_seconds"] < CORES * MINUTES * 60
    assert demo["peak"] < 2 * GIB


@pytest.mark.slow
def test_the_picture_and_the_runs_are_left_behind(demo):
    with Image.open(demo["picture"]) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
    assert Path(demo["out"], "protonet", "checkpoints", "best").is_dir()


def test_budget_scales_the_steps_of_every_learner():
    for contender in CONTENDERS:
        short, long = settings_of(contender, 0.3), settings_of(contender, 6.0)
        assert short.training.steps == max(1, round(contender.steps / 10))
        assert long.training.steps == 2 * contender.steps
