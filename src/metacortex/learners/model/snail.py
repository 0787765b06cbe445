"""SNAIL: the support set as a sequence, read by temporal convolutions and causal attention."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.features import class_slots, real, target_matrix
from metacortex.learners.model.base import Role, SupportReader, check_positive
from metacortex.nn.attention import masked_softmax
from metacortex.task import Examples

__all__ = ["SNAIL", "SNAILSettings"]


@dataclass(frozen=True)
class SNAILSettings:
    """Settings of `SNAIL`.

    Attributes:
        keys: length of queries and keys of each attention block.
        values: length of the values of each attention block; convolutions stand between the blocks.
        filters: filters of each temporal convolution.
        length: examples that the convolutions span together; beyond that only attention reaches. The
            size of the support set and one, as a rule.
        uncertainty: regression: predict means and deviations.
        min_deviation: smallest deviation that is predicted, in (0, 1).
        norm: batch-norm policy.
    """

    keys: tuple[int, ...] = (64, 256, 512)
    values: tuple[int, ...] = (32, 128, 256)
    filters: int = 128
    length: int = 32
    uncertainty: bool = False
    min_deviation: float = 0.1
    norm: Literal["query-batch", "support", "running"] = "running"

    def __post_init__(self) -> None:
        if not self.keys or len(self.keys) != len(self.values):
            raise SettingsError(
                f"snail: keys and values need one length for each block, got {self.keys}, {self.values}"
            )
        check_positive("snail", keys=min(self.keys), values=min(self.values), filters=self.filters)
        if self.length < 2:
            raise SettingsError(f"snail: length must be at least 2, got {self.length}")


class _Layer(nn.Module):
    """A causal layer: what it finds is appended to each vector of the sequence."""

    width: int
    """Length of the vectors that come out."""

    @abstractmethod
    def sequence(self, x: Tensor, mask: Tensor) -> Tensor:
        """The support sequence ``[N, D]`` to ``[N, width]``; ``mask`` ``[N]`` bool says which places are real."""

    @abstractmethod
    def last(self, query: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Queries ``[M, D]``, each as the last place after the sequence ``[N, D]``, to ``[M, width]``."""


class _Convolution(_Layer):
    """Two causal taps with a gate: tanh(f) · σ(g), [f, g] = W [x_{t−R}; x_t] + b."""

    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation, self.width = dilation, inputs + filters
        self.taps = nn.Linear(2 * inputs, 2 * filters)

    def sequence(self, x: Tensor, mask: Tensor) -> Tensor:
        past = F.pad(x, (0, 0, self.dilation, 0))[: x.shape[0]]
        return self._append(past, x)

    def last(self, query: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        place = x.shape[0] - self.dilation
        past = x[place] if place >= 0 else torch.zeros_like(query[0])
        return self._append(past.expand_as(query), query)

    def _append(self, past: Tensor, x: Tensor) -> Tensor:
        f, g = self.taps(torch.cat([past, x], -1)).chunk(2, -1)
        return torch.cat([x, torch.tanh(f) * torch.sigmoid(g)], -1)


class _Attention(_Layer):
    """softmax(q_t · k_s / √d) over s ≤ t, times v_s."""

    def __init__(self, inputs: int, keys: int, values: int) -> None:
        super().__init__()
        self.width = inputs + values
        self.query, self.key, self.value = nn.Linear(inputs, keys), nn.Linear(inputs, keys), nn.Linear(inputs, values)

    def sequence(self, x: Tensor, mask: Tensor) -> Tensor:
        past = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool, device=x.device).tril()
        weights = masked_softmax(self._scaled(x) @ self.key(x).T, past & mask)
        return torch.cat([x, weights @ self.value(x)], -1)

    def last(self, query: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        q = self._scaled(query)
        own = (q * self.key(query)).sum(-1, keepdim=True)  # a query also looks at itself
        scores = torch.cat([q @ self.key(x).T, own], -1)  # [M, N + 1]
        weights = masked_softmax(scores, torch.cat([mask, torch.ones_like(mask[:1])]) if x.shape[0] else None)
        return torch.cat([query, weights[:, :-1] @ self.value(x) + weights[:, -1:] * self.value(query)], -1)

    def _scaled(self, x: Tensor) -> Tensor:
        q = self.query(x)
        return q * q.shape[-1] ** -0.5


class SNAIL(SupportReader):
    """ŷ(x) = W h_{N+1}, h = (A ∘ C ∘ A ∘ … ∘ A)(s), of the sequence s = (x_1, y_1), …, (x_N, y_N), (x, 0).

    Attention blocks (pinpoint access to the past) alternate with blocks of gated convolutions of dilation
    1, 2, 4, … (the recent past). As everything is causal, the support sequence is read once and its
    activations are the state; each query is then one more place after it.

    The examples of a classification task are read class by class, in the order of the slots (the
    original: in random order), so that the order in which they are given matters only within a class. In
    regression the order matters. Padding stands before the sequence.

    Args:
        model: embeds inputs as ``[N, features]``; copied, never changed.
        features: length of an embedding.
        role: what is to be answered; ``outputs`` is the largest way.
        keys: see `SNAILSettings`, as the rest.
        values: lengths of the values.
        filters: of each convolution.
        length: reach of the convolutions.
        uncertainty: predict deviations.
        min_deviation: smallest deviation.
        norm: batch-norm policy.

    Raises:
        LearnerError: on adaptation to a task with more classes than it was built for.

    Reference: Mishra, Rohaninejad, Chen and Abbeel, "A Simple Neural Attentive Meta-Learner", 2018,
    figures 2 and 3, appendix A.
    """

    name: ClassVar[str] = "snail"

    def __init__(
        self,
        model: nn.Module,
        features: int,
        role: Role | None = None,
        *,
        keys: tuple[int, ...] = (64, 256, 512),
        values: tuple[int, ...] = (32, 128, 256),
        filters: int = 128,
        length: int = 32,
        uncertainty: bool = False,
        min_deviation: float = 0.1,
        norm: str = "running",
    ) -> None:
        SNAILSettings(keys, values, filters, length)
        super().__init__(model, norm, role or Role(outputs=5), uncertainty=uncertainty, min_deviation=min_deviation)
        width = features + self.outputs
        layers: list[_Layer] = []
        for block, (key, value) in enumerate(zip(keys, values, strict=True)):
            for power in range(math.ceil(math.log2(length)) if block else 0):
                layers.append(_Convolution(width, filters, 2**power))
                width = layers[-1].width
            layers.append(_Attention(width, key, value))
            width = layers[-1].width
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, self.numbers)

    def fit(self, features: Tensor, support: Examples) -> State:
        """``sequence``: what each layer reads, ``[N, D]`` each; ``mask`` ``[N]`` bool; ``classes``."""
        self.check_way(support)
        labels = target_matrix(support, features)
        labels = F.pad(labels, (0, self.outputs - labels.shape[1]))
        present = real(support, features) > 0
        # Padding first, so that the last real example stands next to the query; then class by class.
        place = present.long() if support.classes is None else present * (support.targets + 1)
        order = torch.argsort(place, stable=True)
        mask, keep = present[order], present[order].to(features.dtype)[:, None]
        x = torch.cat([features, labels], 1)[order] * keep
        sequence: list[Tensor] = []
        for layer in self._layers():
            sequence.append(x)
            x = layer.sequence(x, mask) * keep  # convolutions see zeros where there is nothing
        return {"sequence": sequence, "mask": mask, **class_slots(support)}

    def compare(self, state: State, features: Tensor) -> Tensor:
        """Logits ``[N, way]`` or values."""
        x = F.pad(features, (0, self.outputs))
        for layer, past in zip(self._layers(), state["sequence"], strict=True):
            x = layer.last(x, past, state["mask"])
        return self.answer(self.head(x), state.get("classes"))

    def _layers(self) -> list[_Layer]:
        return [layer for layer in self.layers if isinstance(layer, _Layer)]
