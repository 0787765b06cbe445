"""Greedy decoding and beam search against exhaustive search over a small language."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.nn.decoding import beam_search, greedy
from metacortex.nn.seq2seq import BOS, EOS, PAD

LIMIT = 4
VOCABULARY = 6


class Chain:
    """Sentences of a Markov chain, another one for each row; the state is the number of the row."""

    def __init__(self, rows: int = 5, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(rows, VOCABULARY, VOCABULARY, generator=g, dtype=torch.float64)
        self.state = {"row": torch.arange(rows)}

    def __call__(self, tokens: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.table[state["row"], tokens], state

    def score(self, row: int, sentence: tuple[int, ...]) -> float:
        log_p = self.table[row].log_softmax(-1)
        return float(sum(log_p[a, b] for a, b in zip((BOS, *sentence[:-1]), sentence, strict=True)))


def sentences() -> list[tuple[int, ...]]:
    """All that end with EOS within the limit, and all unfinished ones of that length."""
    words = [w for w in range(VOCABULARY) if w not in (PAD, BOS, EOS)]
    found = [(*s, EOS) for n in range(LIMIT) for s in product(words, repeat=n)]
    return [*found, *product(words, repeat=LIMIT)]


def written(tokens: Tensor) -> tuple[int, ...]:
    return tuple(t for t in tokens.tolist() if t != PAD)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(penalty: float) -> None:
    chain = Chain()
    found = beam_search(chain, chain.state, LIMIT, beam=200, best=3, length_penalty=penalty)
    for row in range(5):
        scores = {s: chain.score(row, s) / ((5 + len(s)) / 6) ** penalty for s in sentences()}
        expected = sorted(scores, key=scores.get, reverse=True)[:3]  # type: ignore[arg-type]
        assert [written(t) for t in found.tokens[row]] == expected
        assert found.scores[row].tolist() == pytest.approx([scores[s] for s in expected])


def test_a_beam_of_one_is_greedy() -> None:
    for seed in range(20):
        chain = Chain(seed=seed)
        one, other = greedy(chain, chain.state, LIMIT), beam_search(chain, chain.state, LIMIT, beam=1, length_penalty=0)
        assert torch.equal(one.tokens, other.tokens)
        torch.testing.assert_close(one.scores, other.scores)


def test_greedy_by_hand() -> None:
    chain = Chain()
    found = greedy(chain, chain.state, LIMIT)
    for row in range(5):
        sentence, last = [], BOS
        while len(sentence) < LIMIT and last != EOS:
            choices = chain.table[row, last].clone()
            choices[[PAD, BOS]] = -torch.inf
            last = int(choices.argmax())
            sentence.append(last)
        assert written(found.tokens[row, 0]) == tuple(sentence)
        assert float(found.scores[row]) == pytest.approx(chain.score(row, tuple(sentence)))


def test_a_wider_beam_is_never_worse_without_length_penalty_here() -> None:
    chain = Chain(rows=20, seed=3)
    scores = [beam_search(chain, chain.state, LIMIT, beam=b, length_penalty=0).scores.mean() for b in (1, 3, 200)]
    assert scores[0] < scores[1] <= scores[2]


def test_fewer_sentences_than_places() -> None:
    chain = Chain()
    chain.table[..., EOS] = 50.0
    found = beam_search(chain, chain.state, 1, beam=2, best=2)
    assert found.tokens[:, 0, 0].eq(EOS).all()
    assert found.scores.isfinite()[:, 0].all()


def test_no_sentences() -> None:
    chain = Chain(rows=0)
    assert greedy(chain, chain.state, 3).tokens.shape == (0, 1, 3)
    assert beam_search(chain, chain.state, 3, beam=2, best=2).tokens.shape == (0, 2, 3)


def test_impossible_beams_are_refused() -> None:
    chain = Chain()
    with pytest.raises(SettingsError, match="best=3, beam=2"):
        beam_search(chain, chain.state, 3, beam=2, best=3)
    with pytest.raises(SettingsError, match="length_penalty=-1"):
        beam_search(chain, chain.state, 3, length_penalty=-1)
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        greedy(chain, chain.state, 0)
