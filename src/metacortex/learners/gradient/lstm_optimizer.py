"""The LSTM that optimises another network (also called Meta-LSTM): a learned update rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.func import grad_and_value

from metacortex.learners.base import State
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import GradientSettings
from metacortex.nn.norm import Statistics
from metacortex.task import Examples
from metacortex.updates.base import Weights
from metacortex.updates.lstm import LOSS, LSTMUpdate

__all__ = ["LSTMOptimizer", "LSTMOptimizerSettings"]


@dataclass(frozen=True)
class LSTMOptimizerSettings(GradientSettings):
    """Settings of `LSTMOptimizer`, see `GradientSettings`; ``inner_lr`` is what the input gate begins with.

    Attributes:
        inner_steps: updates while meta-training; the paper takes 12 for one-shot and 5 for five-shot tasks.
        order: 1, as in the paper, or 2.
        hidden: units of the LSTM.
    """

    inner_steps: int = 5
    order: int = 1
    hidden: int = 20


class LSTMOptimizer(GradientLearner):
    """f_φ(T) = weights after ``inner_steps`` updates by an LSTM that sees gradient, loss and weight.

        θ_t = f_t ⊙ θ_{t-1} − i_t ⊙ ∇L_T(θ_{t-1})

    φ are the initial weights θ_0 and the LSTM, whose gates i_t and f_t are learned functions.

    Args:
        model: any module from inputs to ``[N, outputs]``.
        inner_lr: what the input gate begins with, in 0–1.
        inner_steps: updates while meta-training.
        hidden: units of the LSTM.
        order: 1 takes gradients and losses as constants in the outer gradient.
        choices: the other choices of `GradientLearner`: ``eval_steps``, ``adapt``, ``norm`` …

    *Deviation*: batch-norm statistics follow the norm policy; the paper computes them from each batch.

    Reference: Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning", 2017, algorithm 1.
    """

    name: ClassVar[str] = "lstm_optimizer"
    train_tasks: ClassVar[int] = 4

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.01,
        inner_steps: int = 5,
        hidden: int = 20,
        order: int = 1,
        **choices: Any,
    ) -> None:
        super().__init__(model, LSTMUpdate(inner_lr, hidden), inner_steps=inner_steps, order=order, **choices)

    def slope(self, carry: State, support: Examples, k: int) -> tuple[Weights, Statistics]:
        """As for all gradient learners, with the support loss among the gradients for the rule to see."""

        def support_loss(fast: Weights) -> tuple[Tensor, Statistics]:
            output, seen = self.run(carry, fast, support, k)
            return self.objective.loss(self._slots(output, support.classes), support), seen

        gradients, (loss, seen) = grad_and_value(support_loss, has_aux=True)(carry["fast"])
        return {**gradients, LOSS: loss}, seen
