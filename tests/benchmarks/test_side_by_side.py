"""The comparison with other libraries runs end to end, and notices a wrong gradient."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="suite")
def suite_modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.side_by_side import case, cases, libraries, measure, ours, plain, report

    return SimpleNamespace(
        case=case, cases=cases, libraries=libraries, measure=measure, ours=ours, plain=plain, report=report
    )


def tiny(suite: SimpleNamespace, **options: Any) -> Any:
    return suite.case.Case(
        "tiny", suite.cases.perceptron, lambda: suite.cases.sinusoid_batch(3, 4), inner_lr=0.01, **options
    )


@pytest.mark.parametrize(("steps", "order"), [(1, 1), (2, 2)])
def test_contenders_agree_are_timed_and_written_down(
    suite: SimpleNamespace, tmp_path: Path, steps: int, order: int
) -> None:
    contenders = [*suite.ours.OURS[:2], *suite.plain.PLAIN]
    result = suite.measure.compare(tiny(suite, steps=steps, order=order), contenders, suite.plain.PLAIN[0], seconds=0.0)
    assert [row.reason for row in result.rows] == [None] * len(contenders)
    assert all(row.gap <= 1e-12 for row in result.rows)
    assert {len(row.seconds) for row in result.rows} == {3}
    assert len(result.ratios()) == 3
    suite.report.write(tmp_path, {"cores": 1}, [result], [])
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["cases"][0]["ratios"] == result.ratios()
    assert "| tiny |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "ratios.png").stat().st_size > 1000


@pytest.mark.parametrize("learner", ["anil", "protonet"])
def test_other_learners_agree(suite: SimpleNamespace, learner: str) -> None:
    case = suite.case.Case(
        "small", lambda: suite.cases.conv4(1, 16, 4), lambda: suite.cases.image_batch(2, 1, 16, 1, 2),
        learner=learner, steps=2,
    )  # fmt: skip
    contenders = [suite.ours.OURS[0], suite.plain.PLAIN[0]]
    result = suite.measure.compare(case, contenders, suite.plain.PLAIN[0], seconds=0.0)
    assert [row.reason for row in result.rows] == [None, None]
    assert result.rows[0].gap <= 1e-9


def test_a_wrong_gradient_is_not_timed(suite: SimpleNamespace) -> None:
    """Negative control."""

    def wrong(case: Any, model: torch.nn.Module, batch: Any) -> Any:
        right = suite.plain.PLAIN[0].prepare(case, model, batch)
        return lambda: {name: 1.001 * g for name, g in right().items()}

    contender = suite.case.Contender("wrong", False, "", wrong)
    result = suite.measure.compare(tiny(suite), [contender], suite.plain.PLAIN[0], seconds=0.0)
    assert result.rows[0].reason.startswith("its meta-gradient is wrong: 1.0e-03")
    assert result.rows[0].seconds == []


def test_what_is_not_installed_is_said(suite: SimpleNamespace) -> None:
    with pytest.raises(suite.case.Unable, match="no_such_library cannot be imported"):
        suite.libraries.load("no_such_library")


def test_memory_is_told_per_step(suite: SimpleNamespace) -> None:
    from benchmarks.side_by_side import steps_memory

    size = sum(4 * p.numel() for p in steps_memory.memory_case(1).network().parameters())
    peaks = [{"contender": "x", "steps": k, "mib": 10 + 2 * k * size / 2**20} for k in (1, 5, 11)]
    assert steps_memory.slopes(peaks) == pytest.approx({"x": 2.0})
    assert len(steps_memory.memory_case(7).batch()) == 1
