"""Check that contenders agree, then time them in turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.side_by_side.case import Case, Contender, Unable
from benchmarks.side_by_side.processes import Arrays, Racer, checked_gradient, said, timed

__all__ = ["CaseResult", "Row", "compare", "gap", "milliseconds"]

TOLERANCE = 1e-8
"""Largest difference of meta-gradients in float64, relative to the largest entry."""

_TURN = 0.2
"""Seconds of a turn at least: shorter steps are repeated, and half as many taken before the clock starts, as a core
that waited for its turn is slow for the first tenth of a second."""

_ROUNDS = 5, 60
"""Fewest and most rounds."""

_BEHIND = 1.5
"""Who takes this many times as long as the quickest of the own side is timed in the first round only, unless it is the
quickest library."""


@dataclass
class Row:
    """One contender in one case.

    Attributes:
        contender: its name.
        ours: whether it is metacortex.
        settings: at which it ran.
        installed: see `Contender`.
        rounded: likewise.
        gap: from the reference gradient in float64; ``None`` where it was not compared.
        seconds: of each timed round; one alone where it was far behind.
        compiling: seconds spent compiling.
        break_even: meta-steps after which compiling has paid, against metacortex's fastest that does not compile.
        peak_mib: peak memory of its process up to the end of the first step, over what importing takes.
        reason: why it was not timed.
    """

    contender: str
    ours: bool
    settings: str
    installed: bool = False
    rounded: bool = False
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

    def best(self, *, ours: bool, installed: bool = False, rounded: bool = False) -> Row | None:
        """The fastest that was timed."""
        kind = ours, installed, rounded
        timed = [r for r in self.rows if (r.ours, r.installed, r.rounded) == kind and r.seconds]
        return min(timed, key=lambda r: r.median) if timed else None

    def library(self) -> Row | None:
        """The fastest peer that is somebody's library, not written by hand."""
        timed = [r for r in self.rows if not r.ours and not r.installed and r.seconds and r.contender in _LIBRARIES]
        return min(timed, key=lambda r: r.median) if timed else None

    def ratios(self, against: Row | None = None, *, rounded: bool = False) -> list[float]:
        """The best peer's time (or another's) to ours in each round; empty without a peer."""
        mine, peer = self.best(ours=True, rounded=rounded), against or self.best(ours=False)
        if mine is None or peer is None:
            return []
        return [b / a for a, b in zip(mine.seconds, peer.seconds, strict=False)]

    def line(self) -> str:
        """``sinusoid K=1 … 41.0x``, with spread and the goal."""
        ratios, mine, peer = self.ratios(), self.best(ours=True), self.best(ours=False)
        if mine is None:
            return f"{self.case:<34} no strategy of metacortex could do it"
        if peer is None or not ratios:
            return f"{self.case:<34} {milliseconds(mine.median)} ms ({mine.contender}), no peer"
        beside = [f"goal {self.goal:g}x"] if self.goal else []
        for row, words in ((self.best(ours=False, installed=True), "as installed"), (self.library(), "best library")):
            if row is not None:
                beside.append(f"{words} {statistics.median(self.ratios(row)):.1f}x")
        if self.best(ours=True, rounded=True) is not None:
            beside.append(f"in bf16 {statistics.median(self.ratios(rounded=True)):.1f}x")
        return (
            f"{self.case:<34} {statistics.median(ratios):5.1f}x  ({min(ratios):.1f} to {max(ratios):.1f}; "
            f"{', '.join(beside)}): "
            f"{mine.contender} {milliseconds(mine.median)} ms, {peer.contender} {milliseconds(peer.median)} ms"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"case": self.case, "goal": self.goal, "ratios": self.ratios(), "rows": [asdict(r) for r in self.rows]}


_LIBRARIES = ("learn2learn", "higher", "torchopt", "easyfsl")


def milliseconds(seconds: float) -> str:
    """Three digits, or all that are whole."""
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:,.0f}"


def gap(got: Arrays, expected: Arrays) -> float:
    """Largest difference relative to the largest entry; infinite where a parameter is missing."""
    # A head that a learner does not use has no gradient.
    expected = {n: g for n, g in expected.items() if n in got or bool(np.abs(g).max() > 0)}
    if set(expected) - set(got):
        return math.inf
    largest = max(float(np.abs(g).max()) for g in expected.values())
    return max(float(np.abs(got[n] - g).max()) for n, g in expected.items()) / largest


class _Here:
    """As a `Racer`, in this process."""

    def __init__(self, case: Case, contender: Contender) -> None:
        self.case, self.contender = case, contender

    def warm_up(self) -> dict[str, float]:
        import torch

        from benchmarks.side_by_side.processes import prepared

        self.step = prepared(self.case, self.contender, torch.float32)
        self.step()
        return {"mib": 0.0, "compiling": 0.0}

    def gradient(self) -> Arrays:
        try:
            return checked_gradient(self.case, self.contender)
        except Exception as error:
            raise Unable(said(error)) from error

    def time(self, repeats: int = 1) -> float:
        return timed(self.step, repeats)

    def close(self) -> None:
        pass


def compare(
    case: Case, contenders: Sequence[Contender], reference: Contender, *, seconds: float, forked: bool = True
) -> CaseResult:
    """Check all, then time those that are right, in turns.

    Args:
        case: what to do.
        contenders: who does it.
        reference: whose gradient in float64 is taken as right.
        seconds: about how long to time, all contenders together.
        forked: each in a process of its own.
    """
    start = Racer if forked else _Here
    first = start(case, reference)
    expected = first.gradient()
    first.close()
    rows: list[Row] = []
    racers: dict[str, Any] = {}
    for contender in contenders:
        row = Row(contender.name, contender.ours, contender.settings, contender.installed, contender.rounded)
        rows.append(row)
        racer = racers[row.contender] = start(case, contender)
        try:
            told = racer.warm_up()
            row.peak_mib, row.compiling = told["mib"], told["compiling"]
            if not row.compiling:  # compiled code is checked against the same without compiling when it is made
                row.gap = gap(racer.gradient(), expected)
                if not row.gap <= TOLERANCE:
                    row.reason = f"its meta-gradient is wrong: {row.gap:.1e} of the largest entry in float64"
        except Unable as error:
            row.reason = str(error)
        if row.reason is not None:
            racer.close()
    able = [r for r in rows if r.reason is None]
    _time_in_turns(able, racers, seconds)
    for row in able:
        racers[row.contender].close()
    _break_even(able)
    return CaseResult(case.name, case.goal, rows)


def _time_in_turns(rows: Sequence[Row], racers: dict[str, Any], seconds: float) -> None:
    """One round is a turn of each, in an order that turns, so that what disturbs the machine disturbs all."""
    repeats = {}
    for row in rows:
        once = racers[row.contender].time()
        repeats[row.contender] = max(1, math.ceil(_TURN / once))
        row.seconds.append(racers[row.contender].time(repeats[row.contender]))
    libraries = [r for r in rows if r.contender in _LIBRARIES]
    best = min(libraries, key=lambda r: r.seconds[0], default=None)
    rows = [
        r for r in rows if r is best or r.seconds[0] <= _BEHIND * min(x.seconds[0] for x in rows if x.ours == r.ours)
    ]
    for row in rows:
        row.seconds.clear()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < _ROUNDS[0] or (time.perf_counter() < end and rounds < _ROUNDS[1]):
        for i in range(len(rows)):
            row = rows[(i + rounds) % len(rows)]
            row.seconds.append(racers[row.contender].time(repeats[row.contender]))
        rounds += 1


def _break_even(rows: Sequence[Row]) -> None:
    eager = [r.median for r in rows if r.ours and not r.compiling]
    for row in rows:
        if row.compiling and eager and row.median < min(eager):
            row.break_even = round(row.compiling / (min(eager) - row.median))
