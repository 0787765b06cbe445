"""Attentive neural processes: each query looks for the support examples that matter to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from metacortex.learners.base import State
from metacortex.learners.features import real, target_matrix
from metacortex.learners.model.base import Role, check_positive
from metacortex.learners.model.cnp import CNP, CNPSettings
from metacortex.nn.attention import MultiHeadAttention
from metacortex.task import Examples

__all__ = ["ANP", "ANPSettings"]


@dataclass(frozen=True)
class ANPSettings(CNPSettings):
    """Settings of `ANP`: those of the conditional neural process, and

    Attributes:
        heads: attentions side by side; ``width`` is a multiple of it.
    """

    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("neural process", heads=self.heads)


class ANP(CNP):
    """r(x) = Σ_i a(x, x_i) h(x_i, y_i);  μ, σ = g(x, r(x)), for regression.

    a are the weights of multi-head attention from the query to the support inputs. For classification
    the attention goes over the examples of each class: r_c(x), logit of c = g(x, r_c(x), r), with r as in
    `CNP`. This is the deterministic path alone: no latent variable, so that the likelihood is exact.

    Args:
        model: embeds inputs as ``[N, features]``; copied, never changed.
        features: length of an embedding.
        role: what is to be answered.
        heads: see `ANPSettings`.
        options: as for `CNP`.

    Reference: Kim et al., "Attentive Neural Processes", 2019, equation 3 and figure 2.
    """

    name: ClassVar[str] = "anp"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        role: Role | None = None,
        *,
        heads: int = 8,
        width: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(model, features, role, width=width, **options)
        self.attention = MultiHeadAttention(features, features, width, width, heads)

    def fit(self, features: Tensor, support: Examples) -> State:
        """As `CNP`, and ``keys`` ``[N, features]``, ``encoded`` ``[N, width]``, ``members`` ``[way or 1, N]`` bool."""
        members = real(support, features)[:, None] if support.classes is None else target_matrix(support, features)
        kept = {"keys": features, "encoded": self.encode(features, support), "members": members.T > 0}
        return {**super().fit(features, support), **kept}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """As `CNP`, with what each query reads."""
        context = self.attention(features[:, None], state["keys"][None], state["encoded"][None], state["members"])
        return self.decode(state, features, context)
