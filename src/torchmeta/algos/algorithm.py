"""One face for all learners: ``train(batch)``, ``test(batch)``, ``adapt``, ``save`` and ``load``."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metacortex.engine.gradient import evaluate_tasks, meta_gradient
from metacortex.errors import LearnerError, SettingsError, unknown_name
from metacortex.evaluation.intervals import mean_interval
from metacortex.learners.base import Learner, Predictor
from metacortex.learners.entry import Entry, Kind, LearnerSpec
from metacortex.learners.objective import CrossEntropy, MeanSquaredError
from metacortex.nn.mode import evaluating
from metacortex.task import Task
from torchmeta.algos.files import read_file, write_file
from torchmeta.algos.models import Embedding, base_model
from torchmeta.algos.optimizers import apply_gradient, bind_optimizer
from torchmeta.algos.tasks import is_batch, supervised_task, task_batch

__all__ = ["Algorithm"]

_RATES = ("inner_lr", "tune_lr")


class Algorithm(nn.Module):
    """A learner of metacortex with its outer loop; its subclasses are made from metacortex's registry.

    Args:
        model: any module. For gradient-based learners it maps inputs to as many outputs as a task has classes (or
            targets), for the others to features. It is copied, never changed: the trained one is ``learner``'s.
        lr: learning rate α of the inner loop; the learner's own when not given.
        meta_lr: learning rate of the outer loop.
        optimizer: of the outer loop: Adam when not given; a class or function called with the parameters and
            ``lr=meta_lr``; or an optimizer made for the parameters of ``model``, which then belongs to this object.
        train_classes: classes of the meta-training split, for learners that are pre-trained.
        workers: threads that share the tasks of a batch.
        options: the learner's settings, e.g. ``inner_steps=5``, ``norm="query-batch"``.

    Raises:
        SettingsError: for an unknown setting, naming the nearest one.
    """

    entry: ClassVar[Entry]
    """What the learner is in metacortex's registry."""
    default_options: ClassVar[dict[str, Any]] = {}
    """Settings that differ from metacortex's where they are not given."""
    clip_norm: float = 0.0
    """Largest norm of the gradient of the outer loop; 0 for no limit."""

    def __init__(
        self,
        model: nn.Module | None = None,
        lr: float | None = None,
        meta_lr: float = 1e-3,
        optimizer: Any = None,
        *,
        train_classes: int = 0,
        workers: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self._options = self._checked(lr, options)
        self.meta_lr, self.train_classes, self.workers = meta_lr, train_classes, workers
        self._given_optimizer, self.optimizer = optimizer, None
        # kept out of the submodules: what is trained is the learner's copy
        self._model: list[nn.Module] = [nn.Identity() if model is None else model]
        self._facts: dict[str, Any] = {}
        self.learner: Learner | None = None
        if self._by_outputs:
            self._build({"way": 0, "features": 0, "kind": "classification"})

    # --- what programs call ---

    def train(self, mode: Any = True) -> Any:
        """With a batch: one step of meta-training. With a bool or nothing: PyTorch's training mode.

        Args:
            mode: a batch of a `torchmeta.utils.data.BatchMetaDataLoader`, or of plain examples
                ``[inputs, targets]`` for learners that are pre-trained; or a bool.

        Returns:
            For a batch, a dictionary: ``loss`` and the metrics (``accuracy`` in 0–1, or ``mse``), means over the tasks,
            before the step. Otherwise this object.

        Raises:
            DataError: for a batch whose tasks were not split.
            LearnerError: when the loss is not finite.
        """
        return super().train(mode) if isinstance(mode, bool) else self._train_batch(mode)

    def test(self, batch: Any, tasks: int = 600) -> dict[str, Any]:
        """Adapt to each task and score its test examples; nothing is learned.

        Args:
            batch: one batch, or a loader, of which as many batches are taken as hold ``tasks`` tasks.
            tasks: how many tasks to take from a loader.

        Returns:
            ``loss``; ``accuracy`` (or ``mse``), the mean over the tasks; ``ci95``, half the width of its 95 % interval;
            ``tasks``, how many there were; ``scores``, one per task.
        """
        scores: list[float] = []
        losses: list[float] = []
        metric = ""
        for one in [batch] if is_batch(batch) else _limited(batch):
            task = self.task_of(one)
            learner = self._ready(task)
            outcome = evaluate_tasks(learner, task)
            metric = learner.objective.score
            scores += outcome.metrics[metric].double().reshape(-1).tolist()
            losses += outcome.loss.double().reshape(-1).tolist()
            if not is_batch(batch) and len(scores) >= tasks:
                scores, losses = scores[:tasks], losses[:tasks]
                break
        interval = mean_interval(scores)
        loss = sum(losses) / len(losses)
        return {"loss": loss, metric: interval.mean, "ci95": interval.half, "tasks": len(scores), "scores": scores}

    def adapt(self, inputs: Any, targets: Tensor | None = None) -> Predictor:
        """Learn one task.

        Args:
            inputs: ``[N, ...]``; or a pair ``[inputs, targets]``, e.g. ``batch["train"]`` of a batch of one task.
            targets: ``[N]`` whole numbers, or floats.

        Returns:
            A callable from inputs ``[M, ...]`` to logits ``[M, way]`` or values.
        """
        pair = list(inputs) if targets is None else [inputs, targets]
        if targets is not None or pair[1].dim() == 1:
            pair = [value[None] for value in pair]
        if len(pair[0]) != 1:
            raise LearnerError(f"adapt learns one task, got a batch of {len(pair[0])}: pass one of them")
        task = self.task_of({"train": pair, "test": pair})
        learner = self._ready(task)
        support = _only(task).support
        with evaluating(learner), torch.no_grad():
            return learner.bind(learner.adapt(support))

    def save(self, path: str | Path) -> None:
        """Write weights and the state of the optimizer to one file (safetensors).

        Raises:
            LearnerError: before the first batch, where the learner is not built yet.
        """
        if self.learner is None:
            raise LearnerError(f"{type(self).__name__} has nothing to save yet: train it first")
        write_file(Path(path), self.entry.learner.name, self._facts, self.learner, self.optimizer)

    def load(self, path: str | Path) -> Algorithm:
        """Read what `save` wrote, for the same algorithm and model.

        Returns:
            This object.

        Raises:
            RunError: for a file of another algorithm or model.
        """
        contents = read_file(Path(path), self.entry.learner.name)
        if self.learner is None:
            self._build(contents.facts)
        assert self.learner is not None
        contents.restore(self.learner, self.optimizer)
        self._know(contents.facts)
        return self

    def task_of(self, batch: Any) -> Task:
        """What a learner sees of a batch: the place to read batches of another make, e.g. of sentences.

        Raises:
            DataError: for a batch that was not split.
        """
        return task_batch(batch, self._like)

    @property
    def model(self) -> nn.Module:
        """The base model that is trained: a copy of the one given.

        Raises:
            LearnerError: before the first batch, where the learner is not built yet, or where it has none.
        """
        body = getattr(self.learner, "body", None)
        if body is None:
            raise LearnerError(f"{type(self).__name__} has no model yet: train it first")
        return body.model.model if isinstance(body.model, Embedding) else body.model

    # --- how ---

    @property
    def _by_outputs(self) -> bool:
        """Whether the model's outputs are the predictions, so that nothing else has to be known of the tasks."""
        first, *needed = inspect.signature(self.entry.learner).parameters.values()
        open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        gradient = self.entry.learner.__module__.startswith("metacortex.learners.gradient")
        alone = all(p.default is not p.empty or p.kind in open_ended for p in needed)
        return gradient and first.name == "model" and alone

    @property
    def _like(self) -> Tensor | None:
        source = self._model[0] if self.learner is None else self.learner
        return next(source.parameters(), None)

    def _checked(self, lr: float | None, options: dict[str, Any]) -> dict[str, Any]:
        known = {f.name for f in fields(self.entry.settings)}
        for name in options:
            if name not in known:
                raise unknown_name(f"setting of {type(self).__name__}", name, known)
        if lr is None:
            return {**self.default_options, **options}
        rate = next((name for name in _RATES if name in known), None)
        if rate is None:
            raise SettingsError(f"{type(self).__name__} has no inner loop, so no lr: meta_lr is that of its training")
        return {**self.default_options, rate: lr, **options}

    def _build(self, facts: dict[str, Any]) -> None:
        model, kind = base_model(self._model[0]), facts["kind"]
        if self._by_outputs:
            self.learner = self.entry.learner(model, **self._options)  # type: ignore[call-arg]
        else:
            defaults = {f.name: getattr(self.entry.settings(), f.name) for f in fields(self.entry.settings)}
            spec = LearnerSpec(facts["way"], self.train_classes, kind, _objective(kind))
            body = Embedding(model, facts["features"])
            self.learner = self.entry.build(body, spec, {**defaults, **self._options})
        self._know(facts)
        self.optimizer = bind_optimizer(self._given_optimizer, self._model[0], self.learner, self.meta_lr)

    def _know(self, facts: dict[str, Any]) -> None:
        assert self.learner is not None
        if facts["kind"] not in self.entry.kinds:
            raise SettingsError(f"{type(self).__name__} does not do {facts['kind']}")
        if facts["kind"] == "regression" and isinstance(self.learner.objective, CrossEntropy):
            self.learner.objective = MeanSquaredError()
        self._facts = dict(facts)

    def _ready(self, task: Task) -> Learner:
        """The learner, built for the tasks of the first batch."""
        if self._facts.get("way"):
            assert self.learner is not None
            return self.learner
        kind: Kind = "classification" if task.support.classes is not None else "regression"
        way = task.support.way if kind == "classification" else task.query.targets.shape[-1]
        facts = {"way": way, "kind": kind, "features": 0}
        if self.learner is None:
            with evaluating(self._model[0]), torch.no_grad():
                embedded = self._model[0](_only(task).query.inputs[:2])
            self._build({**facts, "features": embedded.flatten(1).shape[1]})
        else:
            self._know(facts)
        assert self.learner is not None
        return self.learner

    def _train_batch(self, batch: Any) -> dict[str, float]:
        if self.entry.learner.trains_on == "nothing":
            result = self.test(batch)
            return {"loss": result["loss"], **{k: v for k, v in result.items() if k in ("accuracy", "mse")}}
        if self.entry.learner.trains_on == "batches":
            if not self.train_classes:
                raise SettingsError(f"{type(self).__name__} is pre-trained: say train_classes=... (how many there are)")
            task = supervised_task(batch, self.train_classes, self._like)
        else:
            task = self.task_of(batch)
        return self._step(self._ready(task), task)

    def _step(self, learner: Learner, task: Task) -> dict[str, float]:
        """One step of the outer loop: the loss and the metrics before it."""
        super().train(True)
        gradients, outcome = meta_gradient(learner, task, workers=self.workers)
        loss = float(outcome.loss)
        if not math.isfinite(loss):
            raise LearnerError(f"the loss is {loss}: lower lr or meta_lr; nothing was changed by this batch")
        apply_gradient(learner, self.optimizer, gradients, outcome.buffers, clip_norm=self.clip_norm)
        return {"loss": loss, **{name: float(value.mean()) for name, value in outcome.metrics.items()}}


def _only(task: Task) -> Task:
    from metacortex.task import unstack_tasks

    return unstack_tasks(task)[0]


def _objective(kind: str) -> Any:
    return MeanSquaredError() if kind == "regression" else CrossEntropy()


def _limited(loader: Iterable[Any]) -> Iterable[Any]:
    return itertools.islice(loader, 10**6)
