"""Meta-MT: initial weights of a translation network from which a few updates on example pairs suffice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.transfer.multilingual import tagged_state
from metacortex.learners.translation import Translating, TranslationSettings
from metacortex.nn.seq2seq import Seq2Seq
from metacortex.task import Examples
from metacortex.updates.adam import Adam
from metacortex.updates.sgd import SGD

__all__ = ["MetaMT", "MetaMTSettings"]


@dataclass(frozen=True)
class MetaMTSettings(TranslationSettings):
    """Settings of `MetaMT`.

    Attributes:
        inner_lr: learning rate of the updates on the support pairs, positive.
        inner_steps: updates while meta-training.
        eval_steps: updates at evaluation; 0 means as many as ``inner_steps``.
        rule: ``"adam"`` or ``"sgd"``, how the weights are updated.
        tags: let the network read the target language's tag besides.
    """

    inner_lr: float = 1e-3
    inner_steps: int = 2
    eval_steps: int = 0
    rule: Literal["adam", "sgd"] = "adam"
    tags: bool = False

    def __post_init__(self) -> None:
        if min(self.inner_steps, self.eval_steps) < 0:
            raise SettingsError(
                f"inner_steps and eval_steps must not be negative, got {self.inner_steps}, {self.eval_steps}"
            )
        if self.rule not in ("adam", "sgd"):
            raise SettingsError(f"rule must be 'adam' or 'sgd', got '{self.rule}'")


class MetaMT(Translating):
    """First-order MAML for translation: f_θ(T) = θ after ``inner_steps`` updates on T's support pairs.

    The outer gradient is that of the query loss at the adapted weights. Updates count as constants, so
    recurrent layers run fused in both loops.

    Args:
        body: the net; with tags if it is to read them.
        inner_lr: see `MetaMTSettings`, as the rest.
        inner_steps: updates while meta-training.
        eval_steps: updates at evaluation, 0 for the same number.
        rule: ``"adam"`` or ``"sgd"``.
        smoothing: label smoothing.

    Reference: Gu et al., "Meta-Learning for Low-Resource Neural Machine Translation", 2018, equations 3–5
    (first order), without their universal lexical representation: subwords are shared instead.
    """

    name: ClassVar[str] = "meta_mt"

    def __init__(
        self,
        body: Seq2Seq,
        inner_lr: float = 1e-3,
        inner_steps: int = 2,
        eval_steps: int = 0,
        rule: str = "adam",
        smoothing: float = 0.1,
    ) -> None:
        super().__init__(body, smoothing)
        self.inner_steps, self.eval_steps = inner_steps, eval_steps or inner_steps
        self.rule = Adam(inner_lr, eps=1e-16) if rule == "adam" else SGD(inner_lr)

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """The weights after the updates on the support pairs.

        Returns:
            ``weights`` and, for a net with tags, ``tag``.
        """
        steps = self.inner_steps if self.training else self.eval_steps
        return self.tuned(tagged_state(self.body, description), support, self.rule, steps)
