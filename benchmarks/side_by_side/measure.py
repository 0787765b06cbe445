"""Check that contenders agree, then time them in turns."""

from __future__ import annotations

import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmarks.side_by_side.case import Case, Contender, Gradients, Step, Unable
from benchmarks.side_by_side.ours import compile_seconds

__all__ = ["CaseResult", "Row", "compare", "gap", "peak_memory"]

TOLERANCE = 1e-8
"""Largest difference of meta-gradients in float64, relative to the largest entry."""


@dataclass
class Row:
    """One contender in one case.

    Attributes:
        contender: its name.
        ours: whether it is metacortex.
        settings: at which it ran.
        gap: from the reference gradient in float64; ``None`` where it was not compared.
        seconds: of each timed round.
        compiling: seconds spent compiling.
        break_even: meta-steps after which compiling has paid, against metacortex's fastest that does not compile.
        peak_mib: peak memory of a process that does nothing else, less that of one that only imports.
        reason: why it was not timed.
    """

    contender: str
    ours: bool
    settings: str
    gap: float | None = None
    seconds: list[float] = field(default_factory=list)
    compiling: float = 0.0
    break_even: int | None = None
    peak_mib: float | None = None
    reason: str | None = None

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


@dataclass
class CaseResult:
    """All contenders of a case; ratios are of the best peer's time to ours, round by round."""

    case: str
    goal: float
    rows: list[Row]

    def best(self, *, ours: bool) -> Row | None:
        """The fastest that was timed."""
        timed = [r for r in self.rows if r.ours == ours and r.seconds]
        return min(timed, key=lambda r: r.median) if timed else None

    def ratios(self) -> list[float]:
        """The best peer's time to ours in each round; empty without a peer."""
        mine, peer = self.best(ours=True), self.best(ours=False)
        if mine is None or peer is None:
            return []
        return [b / a for a, b in zip(mine.seconds, peer.seconds, strict=True)]

    def line(self) -> str:
        """``sinusoid K=1 … 41.0x``, with spread and the goal."""
        ratios, mine, peer = self.ratios(), self.best(ours=True), self.best(ours=False)
        if mine is None:
            return f"{self.case:<34} no strategy of metacortex could do it"
        if peer is None or not ratios:
            return f"{self.case:<34} {1000 * mine.median:.3g} ms ({mine.contender}), no peer"
        goal = f", goal {self.goal:g}x" if self.goal else ""
        return (
            f"{self.case:<34} {statistics.median(ratios):5.1f}x  ({min(ratios):.1f} to {max(ratios):.1f}{goal}): "
            f"{mine.contender} {1000 * mine.median:.3g} ms, {peer.contender} {1000 * peer.median:.3g} ms"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"case": self.case, "goal": self.goal, "ratios": self.ratios(), "rows": [asdict(r) for r in self.rows]}


def gap(got: Gradients, expected: Gradients) -> float:
    """Largest difference relative to the largest entry; infinite where a parameter is missing."""
    # A head that a learner does not use has no gradient.
    expected = {n: g for n, g in expected.items() if n in got or bool(g.abs().max() > 0)}
    if set(expected) - set(got):
        return float("inf")
    largest = max(float(g.abs().max()) for g in expected.values())
    return max(float((got[n] - g).abs().max()) for n, g in expected.items()) / largest


def _prepared(case: Case, contender: Contender, dtype: torch.dtype, tasks: int | None) -> Step:
    batch = case.batch().to(dtype)
    if tasks is not None:
        batch = type(batch)(*(x[:tasks] for x in batch.task(slice(None))))  # type: ignore[arg-type]
    try:
        return contender.prepare(case, copy.deepcopy(case.network()).to(dtype), batch)
    except Unable:
        raise
    except Exception as error:  # whatever a library raises is its answer
        raise Unable(_said(error)) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _check(case: Case, contender: Contender, reference: Gradients, row: Row) -> None:
    """Compare in float64; a contender that is wrong, or cannot, is not timed."""
    try:
        row.gap = gap(_prepared(case, contender, torch.float64, case.check_tasks)(), reference)
        if not row.gap <= TOLERANCE:
            row.reason = f"its meta-gradient is wrong: {row.gap:.1e} of the largest entry in float64"
    except Unable as error:
        row.reason = str(error)
    except Exception as error:  # as above
        row.reason = _said(error)


def compare(case: Case, contenders: Sequence[Contender], reference: Contender, *, seconds: float) -> CaseResult:
    """Check all, then time those that are right, in turns.

    Args:
        case: what to do.
        contenders: who does it.
        reference: whose gradient in float64 is taken as right.
        seconds: about how long to time, all contenders together.
    """
    expected = _prepared(case, reference, torch.float64, case.check_tasks)()
    rows, steps = [], {}
    for contender in contenders:
        row = Row(contender.name, contender.ours, contender.settings)
        rows.append(row)
        compiled = contender.ours and "compile" in contender.name
        if not compiled:
            _check(case, contender, expected, row)
        if row.reason is None:
            try:
                steps[contender.name] = _prepared(case, contender, torch.float32, None)
                steps[contender.name]()
            except Unable as error:
                row.reason = str(error)
        if compiled:
            row.compiling = compile_seconds(case, contender.name.split()[-1])
    timed = [r for r in rows if r.reason is None]
    _time_in_turns(timed, steps, seconds)
    _break_even(timed)
    return CaseResult(case.name, case.goal, rows)


def _time_in_turns(rows: Sequence[Row], steps: dict[str, Step], seconds: float) -> None:
    """One round is one step of each, in an order that turns, so that what disturbs the machine disturbs all."""
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 200):
        for i in range(len(rows)):
            row = rows[(i + rounds) % len(rows)]
            began = time.perf_counter()
            steps[row.contender]()
            row.seconds.append(time.perf_counter() - began)
        rounds += 1


def _break_even(rows: Sequence[Row]) -> None:
    eager = [r.median for r in rows if r.ours and not r.compiling]
    for row in rows:
        if row.compiling and eager and row.median < min(eager):
            row.break_even = round(row.compiling / (min(eager) - row.median))


def peak_memory(case: str, contender: str) -> float | None:
    """MiB that one step takes at most in a process of its own, over what importing takes; ``None`` if it fails."""
    command = [sys.executable, "-m", "benchmarks.side_by_side", "--worker", case, contender]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout)["mib"] if done.returncode == 0 else None


def worker(case: Case, contender: Contender) -> None:
    """Print what one step takes; run by `peak_memory`."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = _prepared(case, contender, torch.float32, None)
    step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"mib": (after - before) / 1024}))
