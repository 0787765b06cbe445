"""One network for all language pairs, told the target language by a tag: the baseline of translation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import State
from metacortex.learners.translation import Translating, TranslationSettings
from metacortex.nn.seq2seq import Seq2Seq
from metacortex.task import Examples
from metacortex.updates.adam import Adam

__all__ = ["Multilingual", "MultilingualSettings", "tagged_state"]


@dataclass(frozen=True)
class MultilingualSettings(TranslationSettings):
    """Settings of `Multilingual`.

    Attributes:
        tags: read the target language's tag. Without it, trained on one pair, this is the one-pair model.
        tune_steps: updates on the support pairs of a task at evaluation; 0 leaves the network as trained.
        tune_lr: their learning rate (Adam), positive.
    """

    tags: bool = True
    tune_steps: int = 0
    tune_lr: float = 1e-3

    def __post_init__(self) -> None:
        if self.tune_steps < 0:
            raise SettingsError(f"tune_steps must not be negative, got {self.tune_steps}")


class Multilingual(Translating):
    """f_φ(T) = φ with the tag of T's target language, fine-tuned on T's support pairs if there are any.

    While meta-training nothing is fine-tuned: the network learns from the query pairs of every task. Not
    trained at all and fine-tuned, it shows what the support pairs alone can teach.

    Args:
        body: the net; with tags if it is to read them.
        tune_steps: see `MultilingualSettings`, as the rest.
        tune_lr: learning rate.
        smoothing: label smoothing.

    Reference: Johnson et al., "Google's Multilingual Neural Machine Translation System", 2017, section 3.
    """

    name: ClassVar[str] = "multilingual"

    def __init__(self, body: Seq2Seq, tune_steps: int = 0, tune_lr: float = 1e-3, smoothing: float = 0.1) -> None:
        super().__init__(body, smoothing)
        self.tune_steps = tune_steps
        self.rule = Adam(tune_lr, eps=1e-16)

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """The weights, fine-tuned in evaluation mode, and the tag.

        Returns:
            ``weights`` and, for a net with tags, ``tag``.
        """
        state = tagged_state(self.body, description)
        return self.tuned(state, support, self.rule, 0 if self.training else self.tune_steps)


def tagged_state(body: Seq2Seq, description: Any) -> State:
    """The weights of a net and, if it reads tags, the tag of the described task's target language.

    Raises:
        LearnerError: for a net with tags and a task without.
    """
    state: State = {"weights": dict(body.named_parameters())}
    if body.tags is None:
        return state
    if not isinstance(description, dict) or "target_language" not in description:
        raise LearnerError(
            "this learner reads language tags, the task has none: give description['target_language'] "
            "(-1 for a language without), or build the learner with tags=False"
        )
    return {**state, "tag": description["target_language"]}
