"""An attention LSTM encoder–decoder, the base model of every translation learner.

    memory  m_1 … m_L = LSTM_enc(E[x_1] … E[x_L])        both directions
    decoder h_t = LSTM_dec(E[y_{t-1}], h_{t-1})          starts at tanh(W_b m_ends)
    scores  a_t = softmax_s(h_t · W_k m_s)               "general" attention, masked
    output  p(y_t) = softmax(W_o tanh(W_c [h_t; Σ_s a_ts m_s]) + b_o)

The attention is not fed back into the decoder, so that the whole target sentence goes through one fused
LSTM while training. One embedding serves source, target and, if ``tied``, the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.lstm import LSTM

__all__ = ["BOS", "EOS", "PAD", "UNK", "Carry", "Memory", "Seq2Seq", "Seq2SeqSettings", "Seq2SeqShape"]

PAD, BOS, EOS, UNK = range(4)
"""Token ids with a meaning of their own: padding, begin and end of a sentence, unknown piece."""

Memory = dict[str, Tensor]
"""The encoded source, rows first: ``states`` ``[N, L, 2H]``, ``keys`` ``[N, L, H]``, ``mask`` ``[N, L]`` bool."""

Carry = dict[str, Tensor]
"""State of the decoder, rows first: ``h`` and ``c`` ``[N, layers, H]``."""


@dataclass(frozen=True)
class Seq2SeqSettings:
    """Settings of `Seq2Seq`.

    Attributes:
        vocabulary: number of subwords V, the four special tokens included.
        languages: number of language tags; 0 where none are known.
        embedding: size of the embeddings E.
        hidden: units H of the decoder and of each direction of the encoder.
        layers: LSTM layers of encoder and decoder.
        dropout: share set to zero of embeddings, of outputs between layers and before the output layer.
        tied: use the embedding as output weights.
        image: numbers that describe the image of a sentence, put before its tokens; 0 where there are none.
    """

    vocabulary: int = 6000
    languages: int = 0
    embedding: int = 256
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.2
    tied: bool = True
    image: int = 0

    def __post_init__(self) -> None:
        if self.vocabulary <= UNK + 1:
            raise SettingsError(f"seq2seq: vocabulary must be above {UNK + 1}, got {self.vocabulary}")
        if min(self.languages, self.image) < 0 or min(self.embedding, self.hidden, self.layers) < 1:
            raise SettingsError(
                f"seq2seq: embedding, hidden and layers must be at least 1, languages and image at least 0, got "
                f"{self.embedding}, {self.hidden}, {self.layers}, {self.languages} and {self.image}"
            )
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"seq2seq: dropout must lie in 0..1, 1 excluded, got {self.dropout}")


class Seq2SeqShape(nn.Module):
    """The backbone ``seq2seq``: settings without weights; each translation learner builds the net it needs.

    Args:
        input_shape: not used, sentences have no fixed shape.
        settings: see `Seq2SeqSettings`.

    Example:
        >>> Seq2SeqShape((), Seq2SeqSettings(vocabulary=10, hidden=8)).features
        16
    """

    def __init__(self, input_shape: tuple[int, ...] = (), settings: Seq2SeqSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or Seq2SeqSettings()
        self.features = 2 * self.settings.hidden

    def build(self, *, tagged: bool = False) -> Seq2Seq:
        """The net, its weights drawn from PyTorch's random state."""
        return Seq2Seq(self.settings, tagged=tagged)


class Seq2Seq(nn.Module):
    """See the module's first lines. Methods are reached through ``forward(…, method=name)`` as well.

    Args:
        settings: see `Seq2SeqSettings`.
        tagged: with an embedding for each language tag, put before the first source token. Tags start at
            zero, so one that was never trained says nothing.

    Features of images (``image`` of the settings) are projected to one more such token. It is zero for sentences
    without an image, and for a share of them while training (that of ``dropout``), so that the net does without.

    Reference: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", 2015, equations 5–8, without input feeding; tags: Johnson et al., "Google's Multilingual
    Neural Machine Translation System", 2017; an image as a token: Calixto and Liu, "Incorporating Global
    Visual Features into Attention-Based Neural Machine Translation", 2017, section 3.2.1.
    """

    def __init__(self, settings: Seq2SeqSettings, *, tagged: bool = False) -> None:
        super().__init__()
        if tagged and not settings.languages:
            raise SettingsError("seq2seq: language tags need to know how many there are: set languages")
        s = self.settings = settings
        self.embedding = nn.Embedding(s.vocabulary, s.embedding)
        nn.init.normal_(self.embedding.weight, std=s.embedding**-0.5)
        self.tags = nn.Embedding(s.languages, s.embedding) if tagged else None
        if self.tags is not None:
            nn.init.zeros_(self.tags.weight)
        self.image = nn.Linear(s.image, s.embedding) if s.image else None
        self.encoder = LSTM(s.embedding, s.hidden, s.layers, bidirectional=True, dropout=s.dropout)
        self.bridge = nn.Linear(2 * s.hidden, 2 * s.hidden)
        self.decoder = LSTM(s.embedding, s.hidden, s.layers, dropout=s.dropout)
        self.keys = nn.Linear(2 * s.hidden, s.hidden, bias=False)
        self.combine = nn.Linear(3 * s.hidden, s.embedding)
        self.output = None if s.tied else nn.Linear(s.embedding, s.vocabulary, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(s.vocabulary))

    def encode(
        self, source: Tensor, length: Tensor, tag: Tensor | None = None, image: Tensor | None = None
    ) -> tuple[Memory, Carry]:
        """Read source sentences.

        Args:
            source: ``[N, L]`` int64.
            length: ``[N]`` int64 in ``0 .. L``.
            tag: ``[N]`` int64 language tags, for a net that has them; below zero for a language without.
            image: ``[N, image]`` features, for a net that reads them.

        Returns:
            What the attention reads (a step more with tags, and one with images) and the first decoder state.
        """
        x = self.embedding(source)
        if self.image is not None:
            x, length = torch.cat([self._image(x, image), x], 1), length + 1
        if self.tags is not None:
            x, length = torch.cat([self._tag(x, tag), x], 1), length + 1
        states, last = self.encoder(self._drop(x), length)
        # [layers * 2, N, H] -> [N, layers, 2H] -> [N, layers, 2, H]
        ends = last.unflatten(0, (-1, 2)).permute(2, 0, 1, 3).flatten(2)
        start = torch.tanh(self.bridge(ends)).unflatten(2, (2, -1))
        mask = torch.arange(x.shape[1], device=x.device) < length[:, None]
        memory = {"states": states, "keys": self.keys(states), "mask": mask}
        return memory, {"h": start[:, :, 0], "c": start[:, :, 1]}

    def features(
        self,
        source: Tensor,
        length: Tensor,
        target: Tensor,
        tag: Tensor | None = None,
        image: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read sources and, one step late, targets ``[N, L']``.

        Returns:
            What the output layer reads, ``[N, L', E]``, and the attention ``[N, L', L]`` over the source.
        """
        memory, carry = self.encode(source, length, tag, image)
        begin = target.new_full((target.shape[0], 1), BOS)
        shifted = torch.cat([begin, target[:, :-1]], 1)
        state = (carry["h"].transpose(0, 1), carry["c"].transpose(0, 1))
        h, _ = self.decoder(self._drop(self.embedding(shifted)), None, state)
        mixed, attention = self._attend(memory, h)
        return self._drop(mixed), attention[..., (self.tags is not None) + (self.image is not None) :]

    def logits(self, features: Tensor) -> Tensor:
        """``[..., V]`` from ``[..., E]``."""
        return F.linear(features, *self.output_weights(dict(self.named_parameters())))

    def output_weights(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weight ``[V, E]`` and bias ``[V]`` of the output layer, among all weights of a net like this one."""
        return weights["embedding.weight" if self.output is None else "output.weight"], weights["output_bias"]

    def step(self, tokens: Tensor, memory: Memory, carry: Carry) -> tuple[Tensor, Carry]:
        """One step of decoding.

        Args:
            tokens: ``[N * B]``, the last tokens of B hypotheses for each source, those of one together.
            memory: of the N sources.
            carry: ``[N * B, …]``.

        Returns:
            Logits ``[N * B, V]`` and the next state.
        """
        state = (carry["h"].transpose(0, 1), carry["c"].transpose(0, 1))
        h, (hs, cs) = self.decoder.step(self.embedding(tokens), state)
        mixed, _ = self._attend(memory, h.unflatten(0, (memory["mask"].shape[0], -1)))  # [N, B, E]
        return self.logits(mixed.flatten(0, 1)), {"h": hs.transpose(0, 1), "c": cs.transpose(0, 1)}

    def summary(self, source: Tensor, length: Tensor, tag: Tensor | None = None, image: Tensor | None = None) -> Tensor:
        """The mean encoder state of each source sentence, ``[N, 2H]``."""
        memory, _ = self.encode(source, length, tag, image)
        mask = memory["mask"][..., None].to(memory["states"].dtype)
        return (memory["states"] * mask).sum(1) / mask.sum(1).clamp_min(1)

    def teacher_forced(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits ``[N, L', V]`` of each target token, given those before it.

        Args:
            inputs: ``source``, ``source_length``, ``target`` and, with tags, ``tag``, with images ``image``.
        """
        sentences = (inputs["source"], inputs["source_length"], inputs["target"])
        features, _ = self.features(*sentences, inputs.get("tag"), inputs.get("image"))
        return self.logits(features)

    def forward(self, *args: Any, method: str = "teacher_forced") -> Any:
        """Call a method by name, by default `teacher_forced`."""
        return getattr(self, method)(*args)

    def _attend(self, memory: Memory, h: Tensor) -> tuple[Tensor, Tensor]:
        """From decoder states ``[N, T, H]`` to mixed features ``[N, T, E]`` and weights ``[N, T, L]``."""
        scores = h @ memory["keys"].transpose(1, 2)
        mask = memory["mask"][:, None]
        # An empty source leaves nothing to look at: the weights are then zero instead of NaN.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
        weights = scores.softmax(-1) * mask.to(scores.dtype)
        context = weights @ memory["states"]
        return torch.tanh(self.combine(torch.cat([h, context], -1))), weights

    def _tag(self, x: Tensor, tag: Tensor | None) -> Tensor:
        """``[N, 1, E]``, zero for sentences ``x`` without a tag."""
        if tag is None or self.tags is None:
            return x.new_zeros(x.shape[0], 1, x.shape[2])
        return (self.tags(tag.clamp_min(0)) * (tag >= 0)[:, None].to(x.dtype))[:, None]

    def _image(self, x: Tensor, image: Tensor | None) -> Tensor:
        """``[N, 1, E]``, zero for sentences ``x`` without an image."""
        if image is None or self.image is None:
            return x.new_zeros(x.shape[0], 1, x.shape[2])
        seen = self.image(image.to(x.dtype))[:, None]
        share = self.settings.dropout
        if self.training and share:
            seen = seen * (torch.rand(x.shape[0], 1, 1, device=x.device) >= share).to(x.dtype)
        return seen

    def _drop(self, x: Tensor) -> Tensor:
        share = self.settings.dropout
        return F.dropout(x, share) if self.training and share else x
