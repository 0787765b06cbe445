"""How long the playground takes to answer: from a visitor's request to the answer.

    python benchmarks/playground_answers.py

Wall-clock, and time of the processor, which does not count others who use it. Server and visitor share the process and
so its cores; `taskset -c 0,1` gives it two of them. The drawings are characters of a script that the network has not
seen.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests
import torch

from metacortex.estimators.source import default_source
from metacortex.playground.alphabets import draw_example, pick
from metacortex.playground.limits import Limits
from metacortex.playground.server import Playground, serving

SCRIPT = "Georgian"
ASKED = 60


class Visitor:
    """Who teaches and asks."""

    def __init__(self, address: str) -> None:
        self.address, self.session = address, requests.Session()
        self.session.headers["X-Metacortex"] = "play"

    def send(self, path: str, **options: object) -> dict:
        """A POST that must succeed."""
        answer = self.session.post(self.address + path, timeout=300, **options)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer.json()

    def teach(self, codes: list[int], shots: int) -> None:
        """A class for each character."""
        for code in codes:
            target = self.send("/api/classes", json={"name": chr(code)})["classes"][-1]["id"]
            for hand in range(shots):
                self.send(f"/api/classes/{target}/drawings", data=draw_example(code, hand).png)

    def ask(self, png: bytes) -> tuple[float, float]:
        """Seconds until the answer, and of the processor."""
        began, used = time.perf_counter(), time.process_time()
        self.send("/api/queries", data=png)
        return time.perf_counter() - began, time.process_time() - used


def told(seconds: list[float]) -> str:
    """Their distribution."""
    ms = 1000 * np.quantile(seconds, [0.5, 0.95, 1.0])
    return f"median {ms[0]:.0f} ms, 95 % within {ms[1]:.0f} ms, slowest {ms[2]:.0f} ms"


def main() -> None:
    """Print a line for each number of classes and drawings, and one for fifty visitors at once."""
    torch.set_num_threads(1)
    codes = [c.code for c in pick(SCRIPT, 10, np.random.default_rng(0))]
    asked = {code: [draw_example(code, 100 + hand).png for hand in range(ASKED // len(codes))] for code in codes}
    limits = Limits(rate=1e6, burst=10**6, new_rate=1e6, new_burst=10**6, wait=300)
    with serving(Playground(default_source(), limits=limits)) as address:
        for way, shots in ((2, 1), (5, 1), (5, 5), (10, 5)):
            visitor = Visitor(address)
            visitor.teach(codes[:way], shots)
            waited, used = zip(*[visitor.ask(png) for code in codes[:way] for png in asked[code]], strict=True)
            name = f"{way} classes of {shots} drawings, {len(used)} answers"
            print(f"{name}: {told(list(waited))}; of the processor: {told(list(used))}", flush=True)
        with ThreadPoolExecutor(50) as pool:
            visitors = [Visitor(address) for _ in range(50)]
            list(pool.map(lambda v: v.teach(codes[:2], 1), visitors))
            everyone = list(pool.map(lambda v: [v.ask(asked[code][0])[0] for code in codes[:2]], visitors))
        print(f"50 visitors at once, 2 answers each: {told([s for one in everyone for s in one])}", flush=True)


if __name__ == "__main__":
    main()
