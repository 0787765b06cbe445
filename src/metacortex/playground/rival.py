"""The network that stands beside: the same architecture, never meta-trained, trained from scratch on the drawings."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.estimators.adapted import as_tensor
from metacortex.estimators.features import net_channels
from metacortex.learners.base import Predictor
from metacortex.learners.registry import make_learner
from metacortex.playground.limits import Refused
from metacortex.playground.memory import Memo
from metacortex.playground.teacher import Learned, Reply
from metacortex.playground.waves import fit_wave
from metacortex.task import Examples

__all__ = ["Rival", "Rivals", "train_rival"]

_STEPS, _RATE, _CHANNELS = 60, 0.1, 32


@dataclass(frozen=True, eq=False)
class Rival:
    """A network that knows nothing but the drawings.

    Attributes:
        predictor: trained.
        seconds: that took.
        steps: gradient steps, each on all drawings.
    """

    predictor: Predictor
    seconds: float
    steps: int

    def probabilities(self, reply: Reply) -> NDArray[np.float64]:
        """``[way]``, not calibrated: there are no drawings left to calibrate on."""
        inputs = as_tensor(reply.inputs)[:, : net_channels(reply.inputs.shape[1])]
        return self.predictor.probabilities(inputs)[0].double().numpy()


def train_rival(learned: Learned) -> Rival:
    """Train the network of `metacortex.learners.transfer.from_scratch.FromScratch` on a support set.

    60 steps of gradient descent on all drawings at once, about a second for 25 of them.
    """
    began = time.perf_counter()
    inputs = as_tensor(learned.inputs)[:, : net_channels(learned.inputs.shape[1])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = make_learner(
            "from_scratch", input_shape=tuple(inputs.shape[1:]), way=len(learned.concepts), backbone="conv4",
            backbone_options={"channels": _CHANNELS, "reduction": "stride"}, tune_lr=_RATE, tune_steps=_STEPS,
            norm="support",
        )  # fmt: skip
    classes = torch.ones(len(learned.concepts), dtype=torch.bool)
    support = Examples(inputs, torch.from_numpy(learned.targets), classes=classes)
    with torch.no_grad():
        predictor = learner.eval().bind(learner.adapt(support))
    return Rival(predictor, time.perf_counter() - began, _STEPS)


class Rivals:
    """Trains rivals in the background, one after the other, and remembers the last ones.

    Args:
        waiting: how many may wait.
    """

    def __init__(self, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rival")
        self._places, self._lock = BoundedSemaphore(waiting), Lock()
        self._futures: Memo[Future[Rival]] = Memo(waiting + 24)

    def of(self, learned: Learned) -> Rival | None:
        """The rival of what was learned; ``None`` while it is being trained.

        Raises:
            Refused: 503 if too many are waiting.
        """
        key: Any = tuple(d.id for d in learned.drawings), learned.targets.tobytes()
        with self._lock:
            future = self._futures.get(key)
            if future is None:
                if not self._places.acquire(blocking=False):
                    raise Refused("too many networks are being trained from scratch: try again later", 503, 5.0)
                future = self._pool.submit(self._train, learned)
                self._futures.put(key, future)
        return future.result() if future.done() else None

    def warm_up(self) -> None:
        """Load in the background what differentiating needs: some seconds that the first visitor need not wait."""
        self._pool.submit(fit_wave, torch.zeros(1, 2))

    def close(self) -> None:
        """Give up what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _train(self, learned: Learned) -> Rival:
        try:
            return train_rival(learned)
        finally:
            self._places.release()
