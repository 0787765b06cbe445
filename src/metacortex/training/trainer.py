"""The meta-training loop.

With a budget in steps a run is a pure function of its settings: interrupted anywhere and resumed,
it gives bit for bit the weights and the log (without timing fields) of an uninterrupted run. With
a budget in minutes the learning rate follows the time spent, and no two runs are the same.

Several processes may share the tasks of each step (`metacortex.engine.distributed`). All of them hold the
same weights and take the same steps; process 0 alone writes and tells, and its clock is everybody's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metacortex.engine.devices import device_of, random_devices
from metacortex.engine.distributed import Ranks
from metacortex.errors import DivergedError, RunError
from metacortex.evaluation.evaluate import evaluate
from metacortex.runs.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from metacortex.runs.files import find_directory
from metacortex.runs.folder import RunFolder
from metacortex.runs.log import append_line, read_log, truncate_log
from metacortex.settings import TrainingSettings
from metacortex.training.curves import draw_curves
from metacortex.training.interrupt import StopRequest
from metacortex.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors, outer_step
from metacortex.training.preflight import is_out_of_memory
from metacortex.training.progress import Listener, TrainingEvent
from metacortex.training.schedule import Budget, learning_rate

if TYPE_CHECKING:
    from metacortex.learners.base import Learner
    from metacortex.task import Task

__all__ = ["Trainer", "TrainerState", "limited_threads", "task_seed"]

_SAVE_AT_LEAST_EVERY = 60.0
"""Seconds after which a checkpoint is saved between two regular ones; no result depends on it."""

_DRAW_AT_MOST_EVERY = 60.0
"""Seconds between two pictures of the curves while training."""


@dataclass
class TrainerState:
    """The numbers that a resumed run needs besides tensors.

    Attributes:
        step: steps done.
        seconds: seconds of training, over all resumes.
        loss_sum: sum of the losses since the last line of the log.
        loss_count: how many they are.
        val_score: latest validation score.
        best_score: best validation score, ``None`` before the first validation.
        best_step: step at which it was reached.
    """

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    val_score: float | None = None
    best_score: float | None = None
    best_step: int = 0


def task_seed(seed: int, index: int) -> int:
    """Seed of PyTorch's generator for training task ``index``: any pair of numbers gives an unrelated one.

    The mixing is that of SplitMix64, so that neighbouring seeds and tasks share nothing.
    """
    z = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) % 2**63


class Trainer:
    """Meta-trains one learner in one run folder.

    Args:
        learner: what is trained; its parameters and buffers change.
        folder: an existing run folder, locked by this process.
        settings: budget, optimiser, validation, checkpoints.
        tasks: meta-training tasks.
        validation: validation tasks, ``None`` to go without.
        batch_size: tasks per meta-batch, of all processes together.
        strategy: how the engine computes the meta-gradient.
        ranks: the processes of the run; each makes a trainer and calls its methods.
    """

    def __init__(
        self,
        learner: Learner,
        folder: RunFolder,
        settings: TrainingSettings,
        tasks: Any,
        validation: Any | None,
        *,
        batch_size: int,
        strategy: str,
        ranks: Ranks | None = None,
    ) -> None:
        self.learner, self.folder, self.settings = learner, folder, settings
        self.tasks, self.validation = tasks, validation
        self.batch_size, self.strategy = batch_size, strategy
        self.ranks = Ranks() if ranks is None else ranks
        self.device = device_of(learner)
        self._ahead: tuple[list[int], Task | None] = ([], None)
        self.lr = settings.lr or float(getattr(learner, "default_lr", 1e-3))
        self.budget = Budget.of(settings)
        self.optimizer = make_optimizer(learner, settings)
        self.state = TrainerState()
        self._before = 0.0
        self._began = self._saved = self._drawn = time.perf_counter()
        self._steps_here = 0
        self._stopping = False

    def restore(self) -> None:
        """Continue from the last checkpoint; without one, from the start. The log is cut to fit."""
        self.state = self.ranks.tell(self._restored)
        own = {name: x.cpu() for name, x in optimizer_tensors(self.learner, self.optimizer).items()}
        shapes = self.ranks.tell(lambda: {name: (x.shape, x.dtype) for name, x in own.items()})
        if not self.ranks.first:
            own = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
        self.ranks.send({**self.learner.state_dict(), **own})
        if not self.ranks.first:
            load_optimizer(self.learner, self.optimizer, own, "process 0")

    def _restored(self) -> TrainerState:
        state = self.state
        self.folder.recover()
        if find_directory(self.folder.last) is not None:
            checkpoint = load_checkpoint(self.folder.last)
            load_weights(self.learner, checkpoint.model, str(self.folder.last))
            load_optimizer(self.learner, self.optimizer, checkpoint.optimizer, str(self.folder.last))
            known = {k: v for k, v in checkpoint.state.items() if k in TrainerState.__dataclass_fields__}
            state = TrainerState(**known)
        try:
            truncate_log(self.folder.log_path, state.step)
        except OSError as error:
            raise RunError(f"cannot write {self.folder.log_path}: {error.strerror or error}") from error
        return state

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return self.budget.spent(self.state.step, self.state.seconds)

    def run(self, stop: StopRequest, tell: Listener) -> None:
        """Train until the budget is spent or a stop was asked for; a checkpoint is saved either way.

        Args:
            stop: asked between steps; any process may be asked.
            tell: called after each step.

        Raises:
            RunError: when the loss is not finite, a checkpoint cannot be saved, or another process has ended.
        """
        self._before = self.state.seconds
        self._began = self._saved = self._drawn = time.perf_counter()
        saved_step = -1
        while not self.done and not self._must_stop(stop):
            saved_step = self._advance(stop, tell)
        if saved_step != self.state.step:
            self.save()

    def _must_stop(self, stop: StopRequest) -> bool:
        return stop.asked if self.ranks.size == 1 else self._stopping

    def save(self) -> None:
        """Save the last checkpoint."""
        self._save(self.folder.last)
        self._saved = time.perf_counter()

    def _advance(self, stop: StopRequest, tell: Listener) -> int:
        """One step with all that follows it; returns the step of the last checkpoint, -1 for none."""
        lr = self._step()
        self._agree(stop)
        state, last = self.state, self.done
        validate = last or state.step % self.settings.validate_every == 0
        scores = self._validate() if validate and self.validation is not None else {}
        loss = state.loss_sum / state.loss_count
        if validate or state.step % self.settings.log_every == 0:
            self._log(loss, lr, scores)
        if validate:
            self._keep_best(scores)
            self._draw()
        saved = -1
        waited = time.perf_counter() - self._saved
        if last or state.step % self.settings.checkpoint_every == 0 or waited > _SAVE_AT_LEAST_EVERY:
            self.save()
            saved = state.step
        try:
            tell(self._event(loss, lr, validated=validate))
        except KeyboardInterrupt:
            stop.ask()
        return saved

    def _step(self) -> float:
        state, settings = self.state, self.settings
        fraction = self.budget.fraction(state.step, state.seconds)
        lr = learning_rate(settings, state.step, fraction, self.lr)
        loss = self._update(lr)
        state.step += 1
        state.loss_sum += loss
        state.loss_count += 1
        self._steps_here += 1
        self._clock()
        return lr

    def _agree(self, stop: StopRequest) -> None:
        """One clock for all processes, and one answer to whether to stop."""
        if self.ranks.size == 1:
            return
        seconds = self.state.seconds if self.ranks.first else 0.0
        seconds, asked = self.ranks.sum(torch.tensor([seconds, stop.asked], dtype=torch.float64)).tolist()
        self.state.seconds, self._stopping = seconds, asked > 0

    def _update(self, lr: float) -> float:
        from metacortex.engine.gradient import meta_gradient

        settings, step = self.settings, self.state.step
        first = step * self.batch_size
        indices = [first + i for i in self.ranks.share(self.batch_size)]
        batch = self._batch(indices)
        self.learner.train()
        try:
            with torch.random.fork_rng(devices=random_devices(self.device)):
                gradient, outcome = meta_gradient(
                    self.learner,
                    batch,
                    strategy=self.strategy,
                    workers=settings.workers,
                    micro_tasks=settings.micro_tasks,
                    micro_queries=settings.micro_queries,
                    seeds=[task_seed(settings.seed, i) for i in indices],
                    precision=settings.precision,
                    ranks=self.ranks,
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"training stopped at step {step}: out of memory; the run is kept as last saved: continue it with "
                "--resume and --micro-tasks 1, or begin another with fewer --tasks, smaller tasks or --order 1"
            ) from error
        if self.device.type == "cuda" and not self.budget.spent(step + 1, self.state.seconds):
            # The GPU is busy with this step; meanwhile the next one's tasks are drawn.
            self._ahead = self._drawn_tasks([i + self.batch_size for i in indices])
        loss = float(outcome.loss)
        if not math.isfinite(loss):
            raise self._diverged(step, f"the loss is {loss}")
        if self.optimizer is not None:
            norm = outer_step(self.learner, self.optimizer, gradient, lr=lr, clip_norm=settings.clip_norm)
            if not math.isfinite(norm):
                raise self._diverged(step, f"the norm of the meta-gradient is {norm}")
        self._commit(outcome.buffers)
        return loss

    def _batch(self, indices: list[int]) -> Task | None:
        """Tasks of a step, ``None`` where this process has none."""
        (drawn, batch), self._ahead = self._ahead, ([], None)
        return batch if drawn == indices else self._drawn_tasks(indices)[1]

    def _drawn_tasks(self, indices: list[int]) -> tuple[list[int], Task | None]:
        return indices, self.tasks.batch(indices) if indices else None

    def _diverged(self, step: int, what: str) -> DivergedError:
        return DivergedError(
            f"training stopped at step {step}: {what} (lr {self.lr:g}); lower training.lr or the learner's "
            f"inner_lr, or set training.clip_norm, and train anew; the checkpoints before it are kept in "
            f"{self.folder.path / 'checkpoints'}"
        )

    def _commit(self, buffers: dict[str, Tensor]) -> None:
        own = dict(self.learner.named_buffers())
        with torch.no_grad():
            for name, value in buffers.items():
                own[name].copy_(value)

    def _validate(self) -> dict[str, float]:
        assert self.validation is not None
        # Machines of different make may round differently: nobody drifts away for long.
        self.ranks.send(self.learner.state_dict())
        result = evaluate(
            self.learner,
            self.validation,
            tasks=self.settings.validation_tasks,
            precision=self.settings.precision,
            ranks=self.ranks,
        )
        if self.ranks.size == 1:
            self._clock()
        self.state.val_score = result.mean
        return {f"val_{self.learner.objective.score}": result.mean, "val_loss": result.loss}

    def _keep_best(self, scores: dict[str, float]) -> None:
        state = self.state
        objective = self.learner.objective
        score, best = scores.get(f"val_{objective.score}"), state.best_score
        # Ties keep the earlier weights; without validation tasks the latest weights are the best known.
        if (
            score is None
            or best is None
            or math.isnan(best)
            or (score > best if objective.higher_is_better else score < best)
        ):
            state.best_score, state.best_step = score, state.step
            self._save(self.folder.best)

    def _draw(self) -> None:
        if self.ranks.first and time.perf_counter() - self._drawn > _DRAW_AT_MOST_EVERY:
            draw_curves(read_log(self.folder.log_path), self.folder.curves_path, self.learner.name)
            self._drawn = time.perf_counter()

    def _log(self, loss: float, lr: float, scores: dict[str, float]) -> None:
        state = self.state
        line: dict[str, Any] = {"step": state.step, "loss": loss, "lr": lr}
        line |= {key: value for key, value in scores.items() if math.isfinite(value)}
        line |= {
            "seconds": round(state.seconds, 3),
            "tasks_per_second": round(self._pace(), 2),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        if self.ranks.first:
            append_line(self.folder.log_path, line)
        state.loss_sum, state.loss_count = 0.0, 0

    def _event(self, loss: float, lr: float, *, validated: bool) -> TrainingEvent:
        state, budget = self.state, self.budget
        return TrainingEvent(
            step=state.step,
            fraction=budget.fraction(state.step, state.seconds),
            loss=loss,
            lr=lr,
            tasks_per_second=self._pace(),
            seconds=state.seconds,
            seconds_left=budget.seconds_left(state.step, state.seconds),
            score=self.learner.objective.score,
            val_score=state.val_score,
            best_score=state.best_score,
            validated=validated,
        )

    def _pace(self) -> float:
        return self._steps_here * self.batch_size / max(time.perf_counter() - self._began, 1e-9)

    def _clock(self) -> None:
        self.state.seconds = self._before + time.perf_counter() - self._began

    def _save(self, directory: Path) -> None:
        if not self.ranks.first:
            return
        tensors = self.learner.state_dict()
        save_checkpoint(
            directory, Checkpoint(tensors, optimizer_tensors(self.learner, self.optimizer), asdict(self.state))
        )


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Run with this many threads of PyTorch; 0 changes nothing."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count:
            torch.set_num_threads(before)
