"""Reading what is known of a translation task: its description, its support pairs, or both.

    description  c_d = from an LSTM over its words: the last state, or what attention or a position picks
    pairs        c_s = mean over all target tokens of tanh(W [t_j; Σ_i a_ji s_i])
    code         c = tanh(W_c [n(c_d); n(c_s); is there a description?; k/(1 + k)])

n(x) takes away the mean of x's numbers and divides by their deviation: states of LSTMs are small at first, and
codes made of them hardly differ from task to task. s_i and t_j are states of LSTMs over the two sentences of a
pair, a_ji attention of t_j over s. The mean makes the order of the pairs irrelevant. A part that is missing is
zero. There are two codes, for the weights of encoder and decoder.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from metacortex.errors import LearnerError
from metacortex.nn.lstm import LSTM, last_states
from metacortex.nn.seq2seq import UNK
from metacortex.task import Examples

__all__ = ["Pooling", "Reads", "TaskReader"]

Reads = Literal["description", "support", "both"]
Pooling = Literal["last", "attended", "words", "names"]
"""What is taken of the LSTM over the description.

``last``: its last state, for encoder and decoder alike. ``attended``: a mean over its states, here sums of those of
both directions, weighted by a learned attention, one for the encoder and one for the decoder. ``words``: the same
mean over the embeddings of the words: their parts in the sentence decide which ones count; the mean may take in the
name of the other language unless both are read apart. ``names``: the one at the name of the source language for the
encoder and the one at the name of the target language for the decoder; the description then says where they are,
with ``source_position`` and ``target_position`` (int64, below zero where there is none).
"""
SIDES = ("encoder", "decoder")


class TaskReader(nn.Module):
    """From a description and support pairs to a code for each side of the encoder–decoder.

    Args:
        vocabulary: number of subwords.
        size: length of the codes and of every state.
        reads: what is read.
        pooling: see `Pooling`.
        word_dropout: share of the description's words that are unreadable while training, 0–1.
        apart: read for the encoder without the target's name and for the decoder without the source's, where the
            description says where they are; for the poolings ``attended`` and ``words``.

    Reads ``tokens`` and ``length`` of the description (and the positions), never the language tags.
    """

    def __init__(
        self,
        vocabulary: int,
        size: int = 64,
        reads: str = "both",
        pooling: str = "last",
        word_dropout: float = 0.0,
        apart: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.reads, self.pooling = size, reads, pooling
        self.word_dropout, self.apart = word_dropout, apart
        self.embedding = nn.Embedding(vocabulary, size)
        if reads != "support":
            # For attention: what says which language is which may stand after its name.
            self.description = LSTM(size, size, bidirectional=pooling in ("attended", "words"))
            if pooling in ("attended", "words"):
                self.queries = nn.Parameter(torch.randn(2, size) * size**-0.5)
        if reads != "description":
            self.source, self.target = LSTM(size, size), LSTM(size, size)
            self.pair = nn.Linear(2 * size, size)
        self.code = nn.Linear(2 * size + 2, size)

    def forward(self, support: Examples, description: Any) -> dict[str, Tensor]:
        """Codes ``{"encoder": [size], "decoder": [size]}``.

        Args:
            support: pairs, possibly none (``N = 0`` or all masked).
            description: see `metacortex.learners.translation`; may be empty (length 0) or ``None``.

        Raises:
            LearnerError: if positions of names are needed and not given.
        """
        zero = self.embedding.weight.new_zeros(self.size)
        words = dict.fromkeys(SIDES, zero)
        known, count = zero[:1], zero[:1]
        if self.reads != "support" and description is not None and description["tokens"].shape[-1]:
            words = self._described(description)
            known = (description["length"] > 0).to(zero.dtype)[None]
        pairs = zero
        if self.reads != "description" and support.targets.shape[0]:
            pairs, count = self._paired(support)
        pairs = _normalised(pairs)
        parts = {side: torch.cat([_normalised(words[side]), pairs, known, count]) for side in SIDES}
        return {side: torch.tanh(self.code(part)) for side, part in parts.items()}

    def _described(self, description: Any) -> dict[str, Tensor]:
        tokens, length = description["tokens"][None], description["length"][None]
        if self.training and self.word_dropout:
            unread = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(unread, UNK)
        if self.pooling in ("attended", "words"):
            return self._attended(tokens, description)
        states, _ = self.description(self.embedding(tokens), length)  # [1, D, size]
        if self.pooling == "last":
            return {side: last_states(states, length)[0] for side in SIDES}
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        if "source_position" not in description or "target_position" not in description:
            raise LearnerError(
                "pooling='names' needs to know where the languages are named: give description['source_position'] "
                "and ['target_position'], or use another pooling"
            )
        positions = (description["source_position"], description["target_position"])
        return {
            side: ((steps == at).to(states.dtype)[:, None] * states[0]).sum(0)
            for side, at in zip(SIDES, positions, strict=True)
        }

    def _attended(self, tokens: Tensor, description: Any) -> dict[str, Tensor]:
        """Each side's mean over its own view of the tokens ``[1, D]``."""
        steps, length = torch.arange(tokens.shape[1], device=tokens.device), description["length"]
        views = tokens  # one for both sides unless they are read apart
        if self.apart and "source_start" in description:
            others = [
                (steps >= description[f"{other}_start"]) & (steps <= description[f"{other}_position"])
                for other in ("target", "source")
            ]
            views = tokens.expand(2, -1).masked_fill(torch.stack(others), UNK)
        words = self.embedding(views)
        states, _ = self.description(words, length.expand(len(views)))
        states = states.unflatten(-1, (2, self.size)).sum(-2)  # of both directions, [views, D, size]
        real = steps < length
        scores = (states * self.queries[:, None]).sum(-1).masked_fill(~real, torch.finfo(states.dtype).min / 2)
        weights = scores.softmax(-1) * real.to(states.dtype)
        picked = (weights[..., None] * (states if self.pooling == "attended" else words)).sum(1)
        return dict(zip(SIDES, picked, strict=True))

    def _paired(self, support: Examples) -> tuple[Tensor, Tensor]:
        """Mean over the target tokens of all pairs, ``[size]``, and k / (1 + k), ``[1]``."""
        source, length = support.inputs["source"], support.inputs["source_length"]
        s, _ = self.source(self.embedding(source), length)  # [k, L, size]
        t, _ = self.target(self.embedding(support.targets))  # [k, L', size]
        real = (torch.arange(source.shape[1], device=source.device) < length[:, None])[:, None]
        scores = (t @ s.transpose(1, 2) * self.size**-0.5).masked_fill(~real, torch.finfo(t.dtype).min / 2)
        context = (scores.softmax(-1) * real.to(t.dtype)) @ s
        each = torch.tanh(self.pair(torch.cat([t, context], -1)))
        rows = torch.ones_like(length, dtype=torch.bool) if support.mask is None else support.mask
        weights = ((support.targets != 0) & rows[:, None]).to(t.dtype)[..., None]
        mean = (each * weights).sum((0, 1)) / weights.sum().clamp_min(1)
        k = rows.sum()[None].to(t.dtype)
        return mean, k / (1 + k)  # bounded, as tests show more pairs than training did


def _normalised(x: Tensor) -> Tensor:
    """n(x), written out, as the fused one is wrong under ``vmap``; zeros stay zeros."""
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-6).sqrt()
