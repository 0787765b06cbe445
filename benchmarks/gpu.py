"""Meta-gradients on a GPU beside learn2learn, higher and a plain autograd loop, and how far from its limits.

    python benchmarks/gpu.py --out build/gpu             # four minutes
    python benchmarks/gpu.py --quick                     # one minute: the first cases
    python benchmarks/gpu.py --device cpu --cases 1      # what it does, where there is no GPU

First the card's own rates are measured: matrix products in each precision, and a copy. For each case the gradients
of all contenders are compared with that of the autograd loop in float64; those that are right are timed in turns,
in one precision for all. Work is counted on the autograd loop: operations of its convolutions and matrix products,
and the bytes that it reads and writes operation by operation, which is what a program without fusion must move.
Cases are in the order of their weight: what the time is too short for is left out, and said.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.side_by_side.case import Batch, Case, Gradients, Step, Unable
from benchmarks.side_by_side.cases import conv4, image_batch, perceptron, sinusoid_batch
from benchmarks.side_by_side.libraries import LIBRARIES
from benchmarks.side_by_side.ours import learner_of, task_of
from benchmarks.side_by_side.plain import PLAIN
from metacortex.engine.compiled import compile_report
from metacortex.engine.gradient import meta_gradient
from metacortex.tree import tree_leaves

PEERS = {c.name: c for c in (*LIBRARIES, *PLAIN) if c.name in ("learn2learn", "higher", "autograd loop")}
REFERENCE = "autograd loop"
OURS = ("loop", "vmap", "graph", "graph-vmap")
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Job:
    """A case in a precision; ``compiled``: our compiling strategies take part, too."""

    case: Case
    precision: str
    goal: float
    compiled: bool = False

    @property
    def name(self) -> str:
        """Printed."""
        return f"{self.case.name} {self.precision}"


def conv_case(tasks: int, steps: int, order: int) -> Case:
    """Conv4 28×28, 5-way 1-shot, 15 queries."""
    return Case(
        f"Conv4 {tasks} tasks K={steps} order {order}",
        partial(conv4, 1, 28),
        partial(image_batch, tasks, 1, 28, 1, 15),
        inner_lr=0.1,
        steps=steps,
        order=order,
    )


def jobs() -> Iterator[Job]:
    """All of them, the weightiest first."""
    for steps in (1, 5):
        case = Case(f"sinusoid 25 tasks K={steps}", perceptron, sinusoid_batch, inner_lr=0.01, steps=steps)
        yield Job(case, "float32", 20, compiled=True)
    yield Job(conv_case(32, 1, 2), "float32", 10)
    yield Job(conv_case(32, 1, 2), "bf16", 10, compiled=True)
    yield Job(conv_case(32, 1, 2), "tf32", 10, compiled=True)
    yield Job(conv_case(16, 1, 2), "float32", 10)
    yield Job(conv_case(32, 5, 2), "float32", 10)
    yield Job(conv_case(32, 5, 2), "bf16", 10)
    yield Job(conv_case(32, 1, 1), "float32", 10)
    yield Job(conv_case(32, 5, 1), "float32", 10)
    yield Job(conv_case(16, 5, 2), "tf32", 10)
    for tasks in (16, 32):
        for steps in (1, 5):
            for order in (2, 1):
                for precision in ("float32", "tf32", "bf16"):
                    yield Job(conv_case(tasks, steps, order), precision, 10)


@contextmanager
def peer_settings(precision: str, device: torch.device) -> Iterator[None]:
    """The best that PyTorch offers a program that computes in a precision: quickest kernels, autocast for bf16."""
    if device.type == "cuda":
        backends: Any = torch.backends
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = precision != "float32"
        backends.cudnn.benchmark, backends.cudnn.deterministic = True, False
    rounded = torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
    with rounded:
        yield
    if device.type == "cuda":
        backends.cudnn.benchmark = False


def moved(batch: Batch, device: torch.device, dtype: torch.dtype, tasks: int | None = None) -> Batch:
    """The first tasks on a device."""
    cast = batch.to(dtype)
    parts = (cast.support, cast.support_targets, cast.query, cast.query_targets)
    return Batch(*(x[:tasks].to(device) for x in parts))


def peer_step(name: str, case: Case, model: nn.Module, batch: Batch, precision: str) -> Step:
    """What a peer does in a meta-step."""
    device = batch.support.device
    inner = PEERS[name].prepare(case, model, batch)

    def step() -> Gradients:
        with peer_settings(precision, device):
            return inner()

    return step


def our_step(strategy: str, case: Case, model: nn.Module, batch: Batch, precision: str) -> Step:
    """What metacortex does; a strategy that falls back is no contender."""
    learner, tasks = learner_of(case, model).train(), task_of(batch).to(batch.support.device)
    learner.to(batch.support.device)
    prefix = "body.model."

    def step() -> Gradients:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = meta_gradient(learner, tasks, strategy=strategy, precision=precision)[0]
        return {n.removeprefix(prefix): g for n, g in found.items()}

    try:
        step()
    except Warning as warning:
        raise Unable(str(warning)) from warning
    report = compile_report(learner, strategy)
    step.compiling = report.seconds  # type: ignore[attr-defined]
    return step


Maker = Callable[[Case, nn.Module, Batch, str], Step]


def contenders(job: Job) -> dict[str, Maker]:
    """Name -> what makes its step."""
    small = job.case.name.startswith("sinusoid")
    strategies = OURS if small else OURS[2:]  # launched one by one, a Conv4's kernels take a second a meta-step
    strategies = (*strategies, "compile", "compile-vmap") if job.compiled else strategies
    made: dict[str, Maker] = {name: partial(peer_step, name) for name in PEERS}
    return made | {f"metacortex {name}": partial(our_step, name) for name in strategies}


def gap(got: Gradients, expected: Gradients) -> float:
    """Largest difference relative to the largest entry; infinite where a parameter is missing."""
    if set(expected) - set(got):
        return float("inf")
    largest = max(float(g.abs().max()) for g in expected.values())
    return max(float((got[n] - g).abs().max()) for n, g in expected.items()) / largest


class Traffic(TorchDispatchMode):
    """Counts bytes read and written, operation by operation; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        inputs = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        storages = {x.untyped_storage().data_ptr() for x in inputs}
        if any(x.untyped_storage().data_ptr() not in storages for x in outputs) or func._schema.is_mutable:
            self.bytes += sum(x.numel() * x.element_size() for x in (*inputs, *outputs))
        return result


def work(case: Case, device: torch.device) -> dict[str, float]:
    """Operations and bytes of a meta-step of the plain loop in float32, from two of its tasks."""
    batch, model = moved(case.batch(), device, torch.float32, 2), copy.deepcopy(case.network()).to(device)
    step = PEERS[REFERENCE].prepare(case, model, batch)
    step()
    with FlopCounterMode(display=False) as counter:
        step()
    with Traffic() as traffic:
        step()
    share = len(case.batch()) / 2
    return {"operations": share * counter.get_total_flops(), "bytes": share * traffic.bytes}


def rates(device: torch.device) -> dict[str, float]:
    """Operations per second of matrix products in each precision, bytes per second of a copy (read and written)."""
    size = 8192 if device.type == "cuda" else 512
    found = {}
    for precision in ("float32", "tf32", "bf16"):
        if precision == "tf32" and device.type != "cuda":
            continue
        a, b = (torch.randn(size, size, device=device) for _ in range(2))
        with peer_settings(precision, device):
            if precision == "bf16":
                a, b = a.bfloat16(), b.bfloat16()
            found[precision] = 2 * size**3 / fastest(lambda a=a, b=b: a @ b, device)
    x = torch.randn(2**28 if device.type == "cuda" else 2**22, device=device)
    y = torch.empty_like(x)
    found["copy"] = 2 * x.numel() * x.element_size() / fastest(lambda: y.copy_(x), device)
    return found


def fastest(function: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """Seconds of the median of some calls after three that are not counted."""
    taken = [timed(function, device) for _ in range(3 + repeats)][3:]
    return statistics.median(taken)


def timed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, work on the device included."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@dataclass
class Entry:
    """What was found of a contender: gaps to the right gradient, seconds of each round, or why there is nothing."""

    gap64: float | None = None
    gap: float | None = None
    seconds: list[float] = field(default_factory=list)
    compiling: float = 0.0
    reason: str | None = None

    @property
    def median(self) -> float:
        """Seconds per meta-step."""
        return statistics.median(self.seconds)


def compare(job: Job, device: torch.device, seconds: float) -> dict[str, Entry]:
    """Check, then time in turns."""
    case, entries, steps = job.case, {}, {}
    makers = contenders(job)
    small = moved(case.batch(), device, torch.float64, 1)
    whole = moved(case.batch(), device, torch.float64)
    network = case.network()

    def model(dtype: torch.dtype) -> nn.Module:
        return copy.deepcopy(network).to(device, dtype)

    right = PEERS[REFERENCE].prepare(case, model(torch.float64), small)()
    exact = PEERS[REFERENCE].prepare(case, model(torch.float64), whole)()
    for name, make in makers.items():
        entry = entries[name] = Entry()
        try:
            if "compile" not in name:  # machine code is checked against the same strategy when it is made
                entry.gap64 = gap(make(case, model(torch.float64), small, "float32")(), right)
                if not entry.gap64 <= TOLERANCE:
                    raise Unable(f"its meta-gradient is wrong: {entry.gap64:.1e} of the largest entry in float64")
            batch = moved(case.batch(), device, torch.float32)
            steps[name] = make(case, model(torch.float32), batch, job.precision)
            entry.gap = gap({n: g.double() for n, g in steps[name]().items()}, exact)
            entry.compiling = getattr(steps[name], "compiling", 0.0)
        except Exception as error:  # whatever a library raises is its answer
            entry.reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
            steps.pop(name, None)
    turns(entries, steps, device, seconds)
    return entries


def turns(entries: dict[str, Entry], steps: dict[str, Step], device: torch.device, seconds: float) -> None:
    """Rounds of one step of each, in an order that turns; at least three."""
    end, names = time.perf_counter() + seconds, list(steps)
    for name in names:
        timed(steps[name], device)
    rounds = 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 200):
        for i in range(len(names)):
            name = names[(i + rounds) % len(names)]
            entries[name].seconds.append(timed(steps[name], device))
        rounds += 1


def result_of(
    job: Job, entries: dict[str, Entry], counted: dict[str, float], limits: dict[str, float]
) -> dict[str, Any]:
    """A case as plain values."""
    ours = {n: e for n, e in entries.items() if e.seconds and n.startswith("metacortex")}
    peers = {n: e for n, e in entries.items() if e.seconds and not n.startswith("metacortex")}
    if not ours:
        return {"case": job.name, "best": None, "contenders": {n: {"reason": e.reason} for n, e in entries.items()}}
    best = min(ours, key=lambda n: ours[n].median)
    mine = ours[best]
    ratios = {
        name: sorted(theirs / own for theirs, own in zip(entry.seconds, mine.seconds, strict=True))
        for name, entry in peers.items()
    }
    limit = max(counted["operations"] / limits[job.precision], counted["bytes"] / limits["copy"])
    return {
        "case": job.name,
        "goal": job.goal,
        "best": best,
        "milliseconds": 1000 * mine.median,
        "ratios": {n: {"median": statistics.median(r), "lowest": r[0], "highest": r[-1]} for n, r in ratios.items()},
        "tflops": counted["operations"] / mine.median / 1e12,
        "gb_per_second": counted["bytes"] / mine.median / 1e9,
        "limit_milliseconds": 1000 * limit,
        "limited_by": "bytes" if counted["bytes"] / limits["copy"] >= limit else "operations",
        **counted,
        "contenders": {
            n: {
                "milliseconds": 1000 * e.median if e.seconds else None,
                "rounds": [round(1000 * s, 4) for s in e.seconds],
                "gap_float64": e.gap64,
                "gap": e.gap,
                "compiling": e.compiling,
                "reason": e.reason,
            }
            for n, e in entries.items()
        },
    }


def line(result: dict[str, Any]) -> str:
    """One line for people."""
    failed = "".join(f"\n    {n}: {c['reason']}" for n, c in result["contenders"].items() if c["reason"])
    if result["best"] is None:
        return f"{result['case']:<38} no strategy of metacortex could do it{failed}"
    ratios = ", ".join(
        f"{r['median']:.1f}x {name} ({r['lowest']:.1f} to {r['highest']:.1f})" for name, r in result["ratios"].items()
    )
    each = ", ".join(
        f"{name.removeprefix('metacortex ')} {c['milliseconds']:.3g}"
        for name, c in result["contenders"].items()
        if c["milliseconds"]
    )
    return (
        f"{result['case']:<38} {result['best']} {result['milliseconds']:.3g} ms: {ratios} (goal {result['goal']:g}x); "
        f"{result['tflops']:.2f} Tflop/s, {result['gb_per_second']:.0f} GB/s unfused, limit "
        f"{result['limit_milliseconds']:.3g} ms by {result['limited_by']}; gap "
        f"{result['contenders'][result['best']]['gap']:.0e}\n    ms: {each}{failed}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--budget", type=float, default=0, help="seconds in all; default 210, or 60 with --quick")
    parser.add_argument("--seconds", type=float, default=3, help="of timing for each case")
    parser.add_argument("--compile", action="store_true", help="some cases also compiled, up to a minute each")
    parser.add_argument("--only", default="", help="cases whose name has this in it, e.g. 'Conv4 32 tasks'")
    parser.add_argument("--cases", type=int, default=0, help="so many cases; 0: all")
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    options = parser.parse_args()
    device = torch.device(options.device)
    end = time.perf_counter() + (options.budget or (60 if options.quick else 210))
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    limits = rates(device)
    shown = ", ".join(f"{n} {r / 1e12:.3g} T{'B' if n == 'copy' else 'flop'}/s" for n, r in limits.items())
    print(f"{card}, PyTorch {torch.__version__}: {shown}", flush=True)
    results: list[dict[str, Any]] = []
    seen: set[str] = set()
    for job in jobs():
        if job.name in seen or options.only not in job.name or (options.cases and len(results) == options.cases):
            continue
        seen.add(job.name)
        if time.perf_counter() > end:
            print(f"{job.name}: no time left", flush=True)
            continue
        if job.precision not in limits:
            continue
        entries = compare(replace(job, compiled=job.compiled and options.compile), device, options.seconds)
        results.append(result_of(job, entries, work(job.case, device), limits))
        print(line(results[-1]), flush=True)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            content = {"card": card, "torch": torch.__version__, "rates": limits, "cases": results}
            (options.out / "gpu.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
