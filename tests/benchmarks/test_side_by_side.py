"""The comparison with other libraries runs end to end, and notices a wrong gradient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.tasks.episodes import Episodes, EpisodeSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="suite")
def suite_modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.side_by_side import (
        accuracy,
        case,
        cases,
        drawing,
        libraries,
        measure,
        networks,
        ours,
        plain,
        report,
        steps_memory,
    )

    return SimpleNamespace(
        accuracy=accuracy, case=case, cases=cases, drawing=drawing, libraries=libraries, measure=measure,
        networks=networks, ours=ours, plain=plain, report=report, steps_memory=steps_memory,
    )  # fmt: skip


def tiny(suite: SimpleNamespace, **options: Any) -> Any:
    return suite.case.Case(
        "tiny", suite.networks.perceptron, lambda: suite.cases.sinusoid_batch(3, 4), inner_lr=0.01, **options
    )


def compare(suite: SimpleNamespace, case: Any, contenders: Any) -> Any:
    return suite.measure.compare(case, contenders, suite.plain.PLAIN[0], seconds=0.0, forked=False)


@pytest.mark.parametrize(("steps", "order"), [(1, 1), (2, 2)])
def test_contenders_agree_are_timed_and_written_down(
    suite: SimpleNamespace, tmp_path: Path, steps: int, order: int
) -> None:
    contenders = [suite.ours.OURS[0], suite.ours.OURS[3], *suite.plain.PLAIN]
    result = compare(suite, tiny(suite, steps=steps, order=order), contenders)
    assert [row.reason for row in result.rows] == [None] * len(contenders)
    assert all(row.gap <= 1e-12 for row in result.rows)
    assert {len(row.seconds) for row in result.rows} <= {1, 5}  # those far behind are timed once
    assert len(result.ratios()) in (1, 5)
    peaks = [suite.steps_memory.Peak("x", k, 10.0 + k) for k in (5, 10)]
    suite.report.write(tmp_path, {"cores": 1}, [result], peaks)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["cases"][0]["ratios"] == result.ratios()
    for file in ("table.md", "peers.md"):
        assert "| tiny |" in (tmp_path / file).read_text()
    assert "| x | 15 | 20 |" in (tmp_path / "memory.md").read_text()
    for picture in ("ratios.png", "memory.png"):
        assert (tmp_path / picture).stat().st_size > 1000


_TURNS = """
import json
from benchmarks.side_by_side.case import Case, Contender, Unable
from benchmarks.side_by_side.cases import sinusoid_batch
from benchmarks.side_by_side import measure
from benchmarks.side_by_side.measure import compare
from benchmarks.side_by_side.networks import perceptron
from benchmarks.side_by_side.ours import OURS
from benchmarks.side_by_side.plain import PLAIN

def dies(case, model, batch):
    raise SystemExit

measure._BEHIND = float("inf")  # nobody is left out for being slow here and now
case = Case("tiny", perceptron, lambda: sinusoid_batch(2, 3))
contenders = [OURS[3], PLAIN[0], PLAIN[-1], Contender("dies", False, "", dies)]
print(json.dumps(compare(case, contenders, PLAIN[0], seconds=0.0).to_json()))
"""


def test_processes_take_turns() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", _TURNS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, loop, installed, dead = json.loads(done.stdout)["rows"]
    assert loop["gap"] == installed["gap"] == 0
    assert ours["gap"] < 1e-12
    assert ours["peak_mib"] > 0
    assert [len(row["seconds"]) for row in (ours, loop)] == [5, 5]
    assert dead["reason"] == "its process ended (out of memory?)"


@pytest.mark.parametrize("learner", ["anil", "protonet", "r2d2"])
def test_other_learners_agree(suite: SimpleNamespace, learner: str) -> None:
    case = suite.case.Case(
        "small", partial(suite.networks.conv4, 1, 16, 4), partial(suite.cases.image_batch, 2, 1, 16, 1, 2),
        learner=learner, steps=2, own=partial(suite.networks.own_conv4, 1, 16, 4),
    )  # fmt: skip
    result = compare(suite, case, [suite.ours.OURS[0], suite.ours.OURS[1], suite.plain.PLAIN[0]])
    assert [row.reason for row in result.rows] == [None, None, None]
    assert max(row.gap for row in result.rows) <= 1e-9


@pytest.mark.parametrize("name", ["transformer K=1 order 2", "LSTM K=1 order 2", "ResNet-12 84x84 K=1 order 1"])
def test_other_networks_agree(suite: SimpleNamespace, name: str) -> None:
    case = next(c for c in suite.cases.CASES if c.name == name).to_check()
    if name.startswith("ResNet"):
        # Smaller still: 32×32 images.
        from dataclasses import replace

        case = replace(case, batch=partial(suite.cases.image_batch, 1, 3, 32, 1, 1))
    found = {c.name: c.prepare(case, case.network().double(), case.batch().to(torch.float64))() for c in (
        suite.ours.OURS[0], suite.plain.PLAIN[0])}  # fmt: skip
    ours, expected = ({n: g.numpy() for n, g in x.items()} for x in found.values())
    assert suite.measure.gap(ours, expected) <= 1e-10


def test_a_wrong_gradient_is_not_timed(suite: SimpleNamespace) -> None:
    """Negative control."""

    def wrong(case: Any, model: torch.nn.Module, batch: Any) -> Any:
        right = suite.plain.PLAIN[0].prepare(case, model, batch)
        return lambda: {name: 1.001 * g for name, g in right().items()}

    result = compare(suite, tiny(suite), [suite.case.Contender("wrong", False, "", wrong)])
    assert result.rows[0].reason.startswith("its meta-gradient is wrong: 1.0e-03")
    assert result.rows[0].seconds == []


def test_what_is_not_installed_is_said(suite: SimpleNamespace) -> None:
    with pytest.raises(suite.case.Unable, match="no_such_library cannot be imported"):
        suite.libraries.load("no_such_library")


def test_memory_is_told_per_step(suite: SimpleNamespace) -> None:
    memory = suite.steps_memory
    size = sum(4 * p.numel() for p in memory.memory_case(1).network().parameters())
    peaks = [memory.Peak("x", k, 10 + 2 * k * size / 2**20) for k in (10, 16)] + [memory.Peak("x", 5, 900.0)]
    assert memory.slopes(peaks) == pytest.approx({"x": 2.0})
    assert len(memory.memory_case(7).batch()) == 1


def test_the_loaders_idioms_draw_tasks(suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite.drawing, "TASKS", 2)
    images = suite.drawing.drawings(7)
    drawn = suite.drawing.torchmeta_idiom(images)()
    inputs, targets = drawn["test"]
    assert inputs.shape == (2, 75, 1, 28, 28)
    assert inputs.max() > 0.2
    assert targets[0].tolist() == [i for i in range(5) for _ in range(15)]
    rows = [{"loader": "a", "rates": [60.0], "reason": None}, {"loader": "b", "rates": [2.0], "reason": None}]
    assert "30 times as many" in suite.drawing.table(rows)
    with pytest.raises(suite.case.Unable, match="it asks for torch<"):
        suite.drawing.torchmeta(images)


def test_training_curves_are_read(suite: SimpleNamespace) -> None:
    curves = [
        suite.accuracy.Curve("a", [1, 2], [3.0, 6.0], [0.5, 0.9], [0.1, 0.1]),
        suite.accuracy.Curve("b", [1, 2], [5.0, 10.0], [0.4, 0.805], [0.1, 0.1]),
    ]
    assert curves[0].reached(0.8) == (2, 6.0)
    assert curves[1].reached(0.81) is None
    assert "| b | 10.0 | 2 | 2 | 10.0 | 80.5 ± 10.0 % | 5000 | 833 min |" in suite.accuracy.table(curves)


def test_a_training_step_of_metacortex_is_that_of_the_plain_loop(
    suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = np.random.default_rng(0).integers(0, 256, (6 * 20, 1, 28, 28), dtype=np.uint8)
    store = ClassStore.from_arrays(examples, np.repeat(np.arange(6), 20))
    view = ClassView(store, np.arange(6), np.zeros(6, dtype=np.int64), None)
    drawn = Episodes(view, EpisodeSpec(5, 1, 15), seed=0, split="train")
    monkeypatch.setattr(suite.accuracy, "_episodes", lambda seed: (drawn, drawn))
    monkeypatch.setattr(suite.accuracy, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    case, found = suite.accuracy.LEARNERS["protonet"], []
    for name in ("metacortex", "autograd loop"):
        training = suite.accuracy._Training(case, name, seed=0)
        training.run(1)
        found.append(training.parameters["backbone.convolutions.1.weight"].detach().numpy())
    start = case.network().state_dict()["backbone.convolutions.1.weight"].numpy()
    # Adam makes a whole step of the sign of a gradient that is zero but for rounding.
    assert np.mean(np.isclose(found[0], found[1], atol=1e-3)) > 0.95
    assert not np.allclose(found[0], start, atol=1e-3)
    assert 0 <= training.score(2)[0] <= 1
