"""No learning to learn: the support set alone trains a network of random weights."""

from __future__ import annotations

from typing import ClassVar, Literal

from metacortex.learners.transfer.fine_tuning import FineTuning

__all__ = ["FromScratch"]


class FromScratch(FineTuning):
    """θ ← θ − α ∇_θ L_T(θ), `tune_steps` times, from θ = (random body, head of zeros): what the support set can teach.

    Reference: Vinyals et al., "Matching Networks for One Shot Learning", 2016, section 4 (a network trained on the
    support set is what one-shot learners are held against).
    """

    name: ClassVar[str] = "from_scratch"
    trains_on: ClassVar[Literal["episodes", "batches", "nothing"]] = "nothing"
