"""An in-context learner: a transformer that reads the support set and needs no adaptation step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import class_slots, real, target_matrix, unit
from metacortex.learners.model.base import Role, SupportReader, check_positive
from metacortex.learners.objective import hide_padding
from metacortex.nn.attention import TransformerBlock
from metacortex.nn.norm import LayerNorm
from metacortex.task import Examples

__all__ = ["SetTransformer", "SetTransformerSettings", "simplex"]


@dataclass(frozen=True)
class SetTransformerSettings:
    """Settings of `SetTransformer`.

    Attributes:
        width: of the transformer, a multiple of ``heads``.
        depth: blocks.
        heads: attentions of each block.
        labels: how classes are told: ``"relation"``, by which examples share one (any number of classes), or
            ``"simplex"``, by fixed label vectors (up to the way that it was built for).
        uncertainty: regression: predict means and deviations.
        min_deviation: smallest deviation that is predicted, in (0, 1).
        norm: batch-norm policy.
    """

    width: int = 128
    depth: int = 3
    heads: int = 4
    labels: Literal["relation", "simplex"] = "relation"
    uncertainty: bool = False
    min_deviation: float = 0.1
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        check_positive("set_transformer", width=self.width, depth=self.depth, heads=self.heads)
        if self.labels not in ("relation", "simplex"):
            raise SettingsError(f"set_transformer: labels must be 'relation' or 'simplex', got '{self.labels}'")


class SetTransformer(SupportReader):
    """S ← B_k(S, S), q ← B_k(q, S) for the blocks k: support tokens S read each other, each query token q reads them.

    A block is B(a, S) = a' + MLP(a'), a' = a + attention(a, S), of normalised tokens. A token is W g(x),
    g the body; a regression's support tokens add U y. No token has a place, so the order of the examples is irrelevant;
    no query sees another. In a classification,

    - ``"relation"``: the attention of one support example to another is raised by a learned number where
      both belong to one class. A class is the mean of its last tokens, the logit of class c is
      s · cos(A q, A t_c). Renaming the classes renames the logits, and any number of classes is served.
    - ``"simplex"``: support tokens add U e_y, with the label vectors e of a regular simplex; the logits
      are s · e_c · (V q). This is the published way; classes are treated alike only as far as meta-training
      makes the network do so.

    Args:
        model: embeds inputs as ``[N, features]``; copied, never changed.
        features: length of an embedding.
        role: what is to be answered.
        width: see `SetTransformerSettings`, as the rest.
        depth: blocks.
        heads: attentions.
        labels: ``"relation"`` or ``"simplex"``.
        uncertainty: predict deviations.
        min_deviation: smallest deviation.
        norm: batch-norm policy.

    Raises:
        LearnerError: on adaptation of the ``"simplex"`` kind to more classes than it was built for.

    Reference: Fifty et al., "Context-Aware Meta-Learning", 2024, §3 (simplex labels); Kirsch et al.,
    "General-Purpose In-Context Learning by Meta-Learning Transformers", 2022. Ours: labels as relations, and
    queries that read the support set alone, which need the support tokens only once.
    """

    name: ClassVar[str] = "set_transformer"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        role: Role | None = None,
        *,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        labels: str = "relation",
        uncertainty: bool = False,
        min_deviation: float = 0.1,
        norm: str = "running",
    ) -> None:
        SetTransformerSettings(width, depth, heads, labels)  # type: ignore[arg-type]
        super().__init__(model, norm, role or Role(outputs=5), uncertainty=uncertainty, min_deviation=min_deviation)
        self.relates = self.classifies and labels == "relation"
        self.enter = nn.Linear(features, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.last_norm = LayerNorm((width,))
        if self.relates:
            # Heads start with different leanings, from none to a strong one.
            self.kinship = nn.Parameter(torch.linspace(0, 4, heads).repeat(depth, 1))
            self.last, self.log_scale = nn.Linear(width, width, bias=False), nn.Parameter(torch.tensor(10.0).log())
            return
        self.label = nn.Linear(self.outputs, width, bias=False)
        self.unknown = nn.Parameter(0.02 * torch.randn(width))
        self.last = nn.Linear(width, self.numbers)
        if self.classifies:
            self.register_buffer("vectors", simplex(self.outputs))

    def fit(self, features: Tensor, support: Examples) -> State:
        """``tokens``: what each block reads, ``[depth, N, width]``; ``mask`` ``[N]``; ``classes``; for relations
        ``means`` ``[way, width]`` of the classes."""
        mask, x = real(support, features) > 0, self.enter(features)
        targets, bias = target_matrix(support, features), None
        if self.relates:
            bias = (targets @ targets.T) * self.kinship[..., None, None]  # [depth, heads, N, N]
        elif self.classifies:
            self.check_way(support)
            x = x + self.label(targets @ self._vectors(support.way))
        else:
            x = x + self.label(targets)
        tokens = []
        for depth, block in enumerate(self.blocks):
            tokens.append(x)
            x = block(x, None, mask, None if bias is None else bias[depth])
        state: State = {"tokens": torch.stack(tokens), "mask": mask, **class_slots(support)}
        if self.relates:
            means = targets.T @ self.last_norm(x) / targets.sum(0).clamp_min(1)[:, None]
            state["means"] = unit(self.last(means))
        return state

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values."""
        x = self.enter(features)
        if not self.relates:
            x = x + self.unknown
        for block, tokens in zip(self.blocks, state["tokens"], strict=True):
            x = block(x, tokens, state["mask"])
        x = self.last(self.last_norm(x))
        if self.relates:
            return hide_padding(self.log_scale.exp() * unit(x) @ state["means"].T, state["classes"])
        if self.classifies:
            way = state["classes"].shape[-1]
            return self.answer(x @ self._vectors(way).T, state["classes"])
        return self.answer(x, None)

    def _vectors(self, way: int) -> Tensor:
        """Label vectors ``[way, outputs]``."""
        vectors = self.vectors
        assert isinstance(vectors, Tensor)
        return vectors[:way]


def simplex(count: int) -> Tensor:
    """The corners of a regular simplex as rows: unit vectors of which any two have the cosine −1/(count − 1).

    Args:
        count: how many, at least 1.

    Returns:
        ``[count, count]``; for a single one, the vector (1).
    """
    if count == 1:
        return torch.ones(1, 1)
    corners = torch.eye(count) - 1 / count
    return corners / corners.norm(dim=1, keepdim=True)
