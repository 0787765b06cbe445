"""Writing a sentence one token at a time: greedily, or with a beam.

Both take a function of the last tokens and a state and know nothing of the model behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.nn.seq2seq import BOS, EOS, PAD

__all__ = ["Decoded", "Step", "beam_search", "greedy"]

State = dict[str, Tensor]
Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""From last tokens ``[N * beam]``, those of one sentence together, and a state whose tensors have as many
rows, to logits ``[N * beam, V]`` and the next state."""

_NEVER = (PAD, BOS)


@dataclass(frozen=True)
class Decoded:
    """Sentences that were written, the best first.

    Attributes:
        tokens: ``[N, best, T]`` int64, each ended by EOS unless it reached the limit, then padded.
        scores: ``[N, best]`` log-probability divided by the length penalty; −∞ where fewer were found.
    """

    tokens: Tensor
    scores: Tensor


def greedy(step: Step, state: State, limit: int) -> Decoded:
    """The most likely token at every step.

    Args:
        step: see `Step`.
        state: rows first, one row per sentence.
        limit: tokens at most, at least 1.

    Returns:
        `Decoded` with one sentence each, ``T = limit``; the score is the log-probability.

    Raises:
        SettingsError: for a limit below 1.
    """
    first = _first(state, limit)
    count = first.shape[0]
    tokens = first.new_full((count, limit), PAD)
    last, done = first.new_full((count,), BOS), first.new_zeros(count, dtype=torch.bool)
    score = torch.zeros((), device=first.device)
    for t in range(limit):
        logits, state = step(last, state)
        best, choice = _log_probabilities(logits).max(-1)
        score = score.to(best.dtype) + best.masked_fill(done, 0.0)
        last = choice.masked_fill(done, PAD)
        tokens[:, t] = last
        done = done | (last == EOS)
        if bool(done.all()):
            break
    return Decoded(tokens[:, None], score[:, None])


def beam_search(
    step: Step, state: State, limit: int, *, beam: int = 5, best: int = 1, length_penalty: float = 1.0
) -> Decoded:
    """The sentences with the highest score that a beam finds.

        score(y) = log p(y) / ((5 + |y|) / 6)^α

    A sentence leaves the beam when its EOS is among the ``beam`` best continuations; the search for it
    ends with ``beam`` finished ones, so that a beam of one is greedy decoding.

    Args:
        step: see `Step`.
        state: rows first, one row per sentence.
        limit: tokens at most; what is unfinished then counts as it stands.
        beam: hypotheses kept at each step, at least 1.
        best: sentences returned, at most ``beam``.
        length_penalty: α, at least 0; 0 compares plain log-probabilities and favours short sentences.

    Returns:
        `Decoded`, ``T = limit``.

    Raises:
        SettingsError: for values out of range.

    Reference: Wu et al., "Google's Neural Machine Translation System", 2016, equation 14.
    """
    if not 1 <= best <= beam or length_penalty < 0:
        raise SettingsError(
            f"expected 1 <= best <= beam and length_penalty >= 0, got best={best}, beam={beam}, "
            f"length_penalty={length_penalty}"
        )
    first = _first(state, limit)
    count, device = first.shape[0], first.device
    sentence = torch.arange(count, device=device)
    state = {name: x.repeat_interleave(beam, 0) for name, x in state.items()}
    tokens = first.new_full((count, beam, limit), PAD)
    last = first.new_full((count * beam,), BOS)
    # All hypotheses of a sentence begin as the same one: only the first may be continued.
    alive = torch.full((count, beam), -torch.inf, dtype=torch.float32, device=device)  # log-probabilities
    found = (alive.clone(), torch.full_like(tokens, PAD))
    alive[:, 0] = 0.0
    for t in range(limit):
        logits, state = step(last, state)
        log_p = _log_probabilities(logits).unflatten(0, (count, beam))  # [N, beam, V]
        size = log_p.shape[-1]
        values, places = (alive[..., None] + log_p).flatten(1).topk(min(2 * beam, beam * size), -1)
        parents, words = places // size, places % size  # [N, 2 * beam]
        candidates = _taken(tokens, parents)
        candidates[:, :, t] = words
        ends = words == EOS
        leaving = ends & (torch.arange(ends.shape[1], device=device) < beam)
        open_ = (found[0] == -torch.inf).any(-1, keepdim=True)
        scores = (values / _penalty(t + 1, length_penalty)).masked_fill(~leaving | ~open_, -torch.inf)
        found = _merged(found, (scores, candidates))
        values = values.masked_fill(ends, -torch.inf)
        alive, order = values.topk(beam, -1)  # [N, beam]
        tokens, last = _taken(candidates, order), words.gather(1, order).flatten()
        origin = (sentence[:, None] * beam + parents.gather(1, order)).flatten()
        state = {name: x.index_select(0, origin) for name, x in state.items()}
        if not bool((found[0] == -torch.inf).any()):
            break
    open_ = (found[0] == -torch.inf).any(-1, keepdim=True)
    found = _merged(found, ((alive / _penalty(limit, length_penalty)).masked_fill(~open_, -torch.inf), tokens))
    scores, sentences = found[0][:, :best], found[1][:, :best]
    return Decoded(sentences.masked_fill((scores == -torch.inf)[..., None], PAD), scores)


def _first(state: State, limit: int) -> Tensor:
    if limit < 1:
        raise SettingsError(f"the limit of tokens must be at least 1, got {limit}")
    first = next(iter(state.values()))
    return torch.empty(first.shape[0], dtype=torch.int64, device=first.device)


def _log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities in which padding and the begin of a sentence are never chosen."""
    log_p = logits.log_softmax(-1)
    log_p[..., list(_NEVER)] = -torch.inf
    return log_p


def _penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def _taken(tokens: Tensor, which: Tensor) -> Tensor:
    """Hypotheses ``[N, K, T]`` of ``[N, B, T]`` by their number ``[N, K]``."""
    return tokens.gather(1, which[..., None].expand(-1, -1, tokens.shape[-1]))


def _merged(found: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The best of finished hypotheses and further ones, as many as there are places."""
    scores, order = torch.cat([found[0], more[0]], 1).topk(found[0].shape[1], -1)
    return scores, _taken(torch.cat([found[1], more[1]], 1), order)
