"""Transfer learning: pre-train a body on all meta-training classes, then learn a task on its features."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor, nn

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Learner, Outcome
from metacortex.learners.features import FeatureLearner
from metacortex.nn.body import Body
from metacortex.nn.norm import real_rows
from metacortex.task import Examples, Task

__all__ = ["FrozenBody", "Pretrained"]


class Pretrained(Learner):
    """A learner whose body is trained as a classifier of all meta-training classes.

    Subclasses set ``body`` and ``pretraining_head``, from features to logits, ``None`` to go without pre-training.
    """

    trains_on: ClassVar[Literal["episodes", "batches", "nothing"]] = "batches"
    body: Body
    pretraining_head: nn.Module | None

    def loss(self, task: Task) -> Outcome:
        """While training, on a task without support: the loss over the meta-training classes; else as `Learner.loss`.

        Raises:
            LearnerError: if there is no head to pre-train.
        """
        if not self.training or task.support.targets.shape[0]:
            return super().loss(task)
        if self.pretraining_head is None:
            raise LearnerError("this learner was made without train_classes, so it has no head to pre-train")
        with real_rows(task.query.mask):
            features, seen = self.body(self.body.weights(), task.query.inputs)
        buffers = {f"body.{k}": v for k, v in self.body.refreshed({0: seen}).items()}
        return self.outcome(
            self.pretraining_head(features), task.query, {**buffers, **self.observed(features, task.query)}
        )

    def observed(self, features: Tensor, examples: Examples) -> dict[str, Tensor]:
        """New values of the learner's own buffers, from features ``[N, D]`` seen in pre-training."""
        return {}


class FrozenBody(Pretrained, FeatureLearner):
    """A pre-trained body that tasks leave as it is: they add something on its features.

    φ are the weights of the body and of the pre-training head.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        norm: batch-norm policy.
        head: makes the pre-training head from D and the number of classes.
    """

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int,
        norm: str,
        head: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        if features < 1:
            raise SettingsError(f"expected the length of the features, got features={features}")
        self.body = Body(model, norm)
        self.pretraining_head = head(features, train_classes) if train_classes else None

    def keeps(self) -> set[str]:
        """All but the pre-training head."""
        return {name for name in self.state_dict() if not name.startswith("pretraining_head.")}
