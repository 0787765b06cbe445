"""Transfer learning: pre-train on all classes at once, then fine-tune on the support set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.objective import hide_padding
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.learners.transfer.base import Pretrained
from metacortex.nn.body import Body
from metacortex.nn.norm import real_rows
from metacortex.task import Examples
from metacortex.updates.sgd import SGD

__all__ = ["FineTuning", "FineTuningSettings"]


@dataclass(frozen=True)
class FineTuningSettings:
    """Settings of `FineTuning`.

    Attributes:
        tune_lr: learning rate of fine-tuning, positive.
        tune_steps: gradient steps on the support set.
        tune: ``"all"`` weights or the new ``"head"`` alone (a linear probe).
        norm: batch-norm policy.
    """

    tune_lr: float = 0.05
    tune_steps: int = 20
    tune: Literal["all", "head"] = "all"
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.tune_steps < 0:
            raise SettingsError(f"tune_steps must not be negative, got {self.tune_steps}")
        if self.tune not in ("all", "head"):
            raise SettingsError(f"tune must be 'all' or 'head', got '{self.tune}'")


class FineTuning(Pretrained):
    """θ ← θ − α ∇_θ L_T(θ), `tune_steps` times, from θ = (pre-trained body, head of zeros).

    Pre-training is plain classification of all meta-training classes; the head of the task is new. φ are the weights of
    the body and of the pre-training head.

    Args:
        model: maps inputs to features ``[N, D]``; copied, never changed.
        features: D.
        train_classes: classes of the pre-training head; 0 if it will not be pre-trained.
        tune_lr: see `FineTuningSettings`, as the rest.
        tune_steps: gradient steps.
        tune: ``"all"`` or ``"head"``.
        norm: batch-norm policy.

    Reference: Chen et al., "A Closer Look at Few-shot Classification", 2019, Baseline.
    """

    name: ClassVar[str] = "fine_tuning"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        train_classes: int = 0,
        tune_lr: float = 0.05,
        tune_steps: int = 20,
        tune: str = "all",
        norm: str = "running",
    ) -> None:
        super().__init__()
        FineTuningSettings(tune_lr, tune_steps, tune, norm)  # type: ignore[arg-type]
        self.body = Body(model, norm)
        self.features, self.tune, self.tune_steps = features, tune, tune_steps
        self.rule = SGD(tune_lr)
        self.pretraining_head = nn.Linear(features, train_classes) if train_classes else None

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Fine-tune on the support set.

        Returns:
            ``weights`` of body and head, ``classes`` and, where the norm policy fixes them, ``statistics``.
        """
        weights = {f"body.{name}": w for name, w in self.body.weights().items()}
        like = next(iter(weights.values()), support.inputs)
        weights["head.weight"] = like.new_zeros(support.way, self.features)
        weights["head.bias"] = like.new_zeros(support.way)
        fast = {name: w for name, w in weights.items() if self.tune == "all" or name.startswith("head")}
        given = self.body.given(0)
        with real_rows(support.mask):
            features = None if self.tune == "all" else self._features(weights, support.inputs, given)

        def support_loss(fast: dict[str, Tensor]) -> Tensor:
            with real_rows(support.mask):
                x = self._features({**weights, **fast}, support.inputs, given) if features is None else features
            logits = F.linear(x, fast["head.weight"], fast["head.bias"])
            return self.objective.loss(hide_padding(logits, support.classes), support)

        rule = self.rule.init(fast)
        for step in range(self.tune_steps):
            fast, rule = self.rule.update(grad(support_loss)(fast), rule, fast, step)
        state: State = {"weights": {**weights, **fast}, "classes": support.classes}
        if self.body.norm == "support":
            with real_rows(support.mask):
                _, given = self.body.observe(_strip(state["weights"]), support.inputs)
        return pack_statistics(state, given)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]``."""
        weights = state["weights"]
        logits = F.linear(self.embed(state, inputs), weights["head.weight"], weights["head.bias"])
        return hide_padding(logits, state["classes"])

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Fine-tuned features ``[N, D]``."""
        return self._features(state["weights"], inputs, unpack_statistics(state))

    def keeps(self) -> set[str]:
        """Only buffers: the fine-tuned weights are in the state."""
        return {name for name, _ in self.named_buffers()}

    def _features(self, weights: dict[str, Tensor], inputs: Any, given: Any) -> Tensor:
        return self.body(_strip(weights), inputs, given)[0]


def _strip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("body."): w for name, w in weights.items() if name.startswith("body.")}
