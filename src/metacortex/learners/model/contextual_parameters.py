"""Contextual parameter generation: the weights are linear in learned embeddings of the two languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import State
from metacortex.learners.model.generation import WeightGenerator
from metacortex.learners.model.meta_lstm import side_weights
from metacortex.learners.translation import Translating, TranslationSettings
from metacortex.nn.seq2seq import Seq2Seq
from metacortex.task import Examples

__all__ = ["ContextualParameters", "ContextualParametersSettings"]


@dataclass(frozen=True)
class ContextualParametersSettings(TranslationSettings):
    """Settings of `ContextualParameters`.

    Attributes:
        language_size: length of the language embeddings, at least 1.
        pace: outer learning rate of what belongs to languages, as a share of that of the shared network, positive.
    """

    language_size: int = 8
    pace: float = 1.0

    def __post_init__(self) -> None:
        if self.language_size < 1:
            raise SettingsError(f"language_size must be at least 1, got {self.language_size}")
        if not self.pace > 0:
            raise SettingsError(f"pace must be positive, got {self.pace}")


class ContextualParameters(Translating):
    """θ_enc = P_enc [1; l_source] and θ_dec = P_dec [1; l_target], with an embedding l for each language.

    Everything but the subword embedding is generated. It is a lookup table of tags: it reads
    ``source_language`` and ``target_language`` of the description, neither its words nor the support pairs.

    Args:
        body: the encoder–decoder, without tags; its settings say how many languages there are.
        language_size: length of l.
        smoothing: label smoothing.
        pace: of learning the embeddings and their columns of P.

    *Deviations*: subwords and their embedding are shared by all languages, where the paper has a vocabulary
    and an embedding for each. One coordinate of each language embedding is fixed at 1, so that its column of P
    is a sound initial network, shared by all languages; the other columns start at zero and the embeddings at
    random. A language without a tag (below zero) gets that column alone.

    Reference: Platanios et al., "Contextual Parameter Generation for Universal Neural Machine
    Translation", 2018, equations 2–4.
    """

    name: ClassVar[str] = "contextual_parameters"

    def __init__(self, body: Seq2Seq, language_size: int = 8, smoothing: float = 0.1, pace: float = 1.0) -> None:
        super().__init__(body, smoothing)
        ContextualParametersSettings(smoothing, language_size, pace)
        self.lr_shares = dict.fromkeys(("languages", "generators"), pace)
        if not body.settings.languages:
            raise SettingsError("contextual_parameters needs to know how many languages there are: set languages")
        self.languages = nn.Embedding(body.settings.languages, language_size)
        nn.init.normal_(self.languages.weight, std=language_size**-0.5)
        self.generators = nn.ModuleDict()
        for side, weights in side_weights(self.body).items():
            generator = WeightGenerator({n: tuple(p.shape) for n, p in weights.items()}, language_size, "full")
            # The column of the constant coordinate is the network's own weights.
            generator.linear.register_parameter("bias", None)
            self.generators[side] = generator

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Write the weights for the languages of the description.

        Returns:
            ``weights`` of the generated network.

        Raises:
            LearnerError: for a task without language tags.
        """
        weights = dict(self.body.named_parameters())
        shared = dict(weights)
        for side, key in (("encoder", "source_language"), ("decoder", "target_language")):
            if not isinstance(description, dict) or key not in description:
                raise LearnerError(
                    f"contextual_parameters reads language tags, the task has none: description['{key}']"
                )
            weights |= self.generators[side](shared, self._embedded(description[key]))
        return {"weights": weights}

    def _embedded(self, tag: Tensor) -> Tensor:
        known = (tag >= 0).to(self.languages.weight.dtype)
        return self.languages(tag.clamp_min(0)) * known
