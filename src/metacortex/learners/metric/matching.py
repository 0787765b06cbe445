"""Matching networks: attention over the embedded support set, for classification and regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import check_norm, class_slots, real, target_matrix, unit
from metacortex.learners.metric.base import MetricLearner
from metacortex.learners.metric.linear import positive
from metacortex.learners.objective import Objective, hide_padding
from metacortex.nn.lstm import LSTM
from metacortex.task import Examples

__all__ = ["FullContext", "MatchingNet", "MatchingNetSettings"]


@dataclass(frozen=True)
class MatchingNetSettings:
    """Settings of `MatchingNet`.

    Attributes:
        fce: full-context embeddings: each support example is embedded in view of the whole set, and the query too.
        fce_steps: attention steps of the query's embedding.
        scale: factor of the cosine in the attention, positive.
        learn_scale: learn it.
        norm: batch-norm policy.
    """

    fce: bool = False
    fce_steps: int = 5
    scale: float = 10.0
    learn_scale: bool = True
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if self.fce_steps < 1:
            raise SettingsError(f"fce_steps must be at least 1, got {self.fce_steps}")
        positive("scale", self.scale)
        check_norm("matching", self.norm)


class FullContext(nn.Module):
    """Embeddings in the context of the whole support set (appendix A of the paper).

    Support: g(x_i) = →h_i + ←h_i + g'(x_i), from an LSTM that reads the set in both directions, so that its order
    matters. Query: K steps of ĥ_k, c_k = LSTM(f'(x), [h_{k−1}, r_{k−1}], c_{k−1}), h_k = ĥ_k + f'(x),
    r_k = Σ_i softmax_i(h_k · g(x_i)) g(x_i); f(x) = h_K.

    Args:
        features: width of all embeddings.
        steps: K.
    """

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        self.read = LSTM(features, features, bidirectional=True)
        # What is read from the support set enters with the input: the same sum as in the paper.
        self.attend = LSTM(2 * features, features)
        self.steps = steps

    def support(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """g ``[N, D]`` of the support features ``[N, D]``; the LSTM skips padding rows."""
        if mask is None:
            return features + self._both_ways(features, None)
        order = (~mask).to(torch.int64).argsort(stable=True)  # real rows first, in their order
        return features + self._both_ways(features[order], mask.sum()[None])[order.argsort()]

    def query(self, features: Tensor, keys: Tensor, rows: Tensor) -> Tensor:
        """f ``[N, D]`` of query features ``[N, D]``, each alone, against ``keys`` g ``[M, D]``."""
        h = seen = cell = torch.zeros_like(features)
        for _ in range(self.steps):
            h, (_, cells) = self.attend.step(torch.cat([features, seen], -1), (h[None], cell[None]))
            h, cell = h + features, cells[0]
            seen = _attention(h @ keys.T, rows) @ keys
        return h

    def _both_ways(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        onwards, backwards = self.read(features[None], lengths)[0][0].chunk(2, -1)  # [1, N, 2D] -> [N, D] each
        return onwards + backwards


class MatchingNet(MetricLearner):
    """ŷ(x) = Σ_i a(x, x_i) y_i,  a = softmax_i(s · cos(f(x), g(x_i))).

    For classes y_i is one-hot and ŷ the probabilities, of which the logits are the logarithm (up to a constant);
    for regression ŷ is the prediction. φ: the body, which serves as f and g, s, and the LSTMs of the
    full-context embeddings. The paper has s = 1; a larger, learned one lets the attention be sharp.

    Args:
        model: embeds inputs as ``[N, D]``; copied, never changed.
        features: D; needed for full-context embeddings alone.
        fce: use full-context embeddings. The answer then depends on the order of the support set.
        fce_steps: attention steps of the query's embedding.
        scale: initial s.
        learn_scale: learn it (as log s).
        norm: batch-norm policy.
        objective: cross-entropy by default; `metacortex.learners.objective.MeanSquaredError` for regression.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
        >>> float(MatchingNet(torch.nn.Identity()).loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0

    Reference: Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, "Matching Networks for One Shot
    Learning", 2016, equation 1 and section 2.1.1; full context: section 2.1.2, equations 3 to 6 and appendix A.
    """

    name: ClassVar[str] = "matching"
    train_way: ClassVar[int | None] = 20
    train_queries: ClassVar[int | None] = 5
    train_tasks: ClassVar[int] = 2
    default_lr: ClassVar[float] = 2e-3

    def __init__(
        self,
        model: nn.Module,
        features: int = 0,
        fce: bool = False,
        fce_steps: int = 5,
        scale: float = 10.0,
        learn_scale: bool = True,
        norm: str = "running",
        objective: Objective | None = None,
    ) -> None:
        MatchingNetSettings(fce, fce_steps, scale, learn_scale, norm)  # type: ignore[arg-type]
        super().__init__(model, norm)
        if fce and features < 1:
            raise SettingsError(f"full-context embeddings need the length of the features, got features={features}")
        self.context = FullContext(features, fce_steps) if fce else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)
        if objective is not None:
            self.objective = objective

    def fit(self, features: Tensor, support: Examples) -> State:
        """``keys`` ``[M, D]``, ``values`` ``[M, way or outputs]``, ``rows`` ``[M]``, 0 for padding, ``classes``."""
        keys = features if self.context is None else self.context.support(features, support.mask)
        return {
            "keys": keys,
            "values": target_matrix(support, features),
            "rows": real(support, features),
            **class_slots(support),
        }

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]``, or for regression the values ``[N, outputs]``."""
        values, rows = state["values"], state["rows"]
        scores = self._scores(state, features)  # [N, M]
        if "classes" not in state:
            return _attention(scores, rows) @ values
        # log Σ_{i of class c} exp(score_i), which does not vanish where the probability would: [N, M, way] -> [N, way]
        low = torch.finfo(scores.dtype).min / 4
        logits = scores[:, :, None].masked_fill(values == 0, low).logsumexp(1)
        return hide_padding(logits, state["classes"])

    def attends(self, state: State, inputs: Any) -> Tensor:
        """The attention a ``[N, M]`` of each query to each support example, 0 for padding."""
        return _attention(self._scores(state, self.embed(state, inputs)), state["rows"])

    def _scores(self, state: State, features: Tensor) -> Tensor:
        if self.context is not None:
            features = self.context.query(features, state["keys"], state["rows"])
        return self.log_scale.exp() * unit(features) @ unit(state["keys"]).T


def _attention(scores: Tensor, rows: Tensor) -> Tensor:
    """Softmax over the real support examples: scores ``[N, M]``, rows ``[M]``."""
    return scores.masked_fill(rows == 0, torch.finfo(scores.dtype).min / 4).softmax(-1)
