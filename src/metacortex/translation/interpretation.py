"""What a MetaLSTM has made of its descriptions: where languages lie, and which weights depend on what.

*Space.* A language's point is the code that is written from it as a source, and that as a target, each averaged over
the other language of the pair.

*Dependence.* Weights are generated for every combination of some sources, targets, wordings and sets of support pairs;
the variance of each matrix is split as in an analysis of variance:

    total = Σ_f n_f Σ_l ‖w̄_{f=l} − w̄‖² + what only combinations explain

w̄_{f=l} is the mean over all combinations with level l of factor f.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.data.text.corpus import Pair
from metacortex.data.text.languages import FAMILIES
from metacortex.errors import SettingsError
from metacortex.learners.model.meta_lstm import MetaLSTM
from metacortex.nn.norm import fused_kernels
from metacortex.task import Examples
from metacortex.tasks.descriptions import describe, description_tensors, wordings
from metacortex.translation.translator import TextRun, encode_pairs

__all__ = ["FACTORS", "LanguageSpace", "WeightDependence", "language_space", "weight_dependence"]

FACTORS = ("source", "target", "wording", "support")
"""What is varied, in the order in which combinations are made."""

_OTHERS = 6
"""Languages that the other side of a pair is averaged over."""


@dataclass(frozen=True)
class LanguageSpace:
    """Where the descriptions of languages lie.

    Attributes:
        languages: code -> name.
        codes: ``[languages, 2 · code]``: as a source, as a target.
        points: ``[languages, 2]`` the first two principal components.
        explained: share of the variance that they hold, 0–1.
    """

    languages: dict[str, str]
    codes: NDArray[np.float64]
    points: NDArray[np.float64]
    explained: float

    @property
    def near_kin(self) -> tuple[int, int, float]:
        """Languages with kin whose nearest neighbour is kin, how many have kin, and the share expected by chance."""
        families = [FAMILIES.get(code, code) for code in self.languages]
        related = [i for i, family in enumerate(families) if families.count(family) > 1]
        distances = np.linalg.norm(self.codes[:, None] - self.codes[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        nearest = distances.argmin(1)
        found = sum(families[nearest[i]] == families[i] for i in related)
        chance = [(families.count(families[i]) - 1) / (len(families) - 1) for i in related]
        return found, len(related), float(np.mean(chance)) if chance else 0.0


@dataclass(frozen=True)
class WeightDependence:
    """What the generated weights depend on.

    Attributes:
        shares: weight -> share of its variance for each of `FACTORS` and ``"together"``, in sum 1; all zero for a
            weight that never changes.
        change: weight -> root mean square of its change with the task, relative to its own size.
        levels: factor -> how many levels were tried.
    """

    shares: dict[str, dict[str, float]]
    change: dict[str, float]
    levels: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"shares": self.shares, "change": self.change, "levels": self.levels}


def language_space(text: TextRun) -> LanguageSpace:
    """The codes of every language of a run, told in the plainest words.

    Raises:
        SettingsError: for a run of another learner, one that reads no words, or of fewer than three languages.
    """
    learner = _meta_lstm(text)
    if learner.reader.reads == "support":
        raise SettingsError("this learner reads no words: there is no space of descriptions to draw")
    languages = dict(text.domain.corpus.languages)
    codes = list(languages)
    if len(codes) < 3:
        raise SettingsError(f"a space of languages needs three of them, the run has {', '.join(codes)}")
    known = list(text.domain.corpus.trained_languages)
    others = known[:: max(1, len(known) // (_OTHERS + 1))][: _OTHERS + 1]
    rows = []
    with torch.no_grad(), fused_kernels():
        for code in codes:
            rest = [other for other in others if other != code][:_OTHERS]
            read = [_code(text, learner, (code, other))["encoder"] for other in rest]
            written = [_code(text, learner, (other, code))["decoder"] for other in rest]
            rows.append(torch.cat([torch.stack(read).mean(0), torch.stack(written).mean(0)]).double().numpy())
    matrix = np.stack(rows)  # [languages, 2 * code]
    u, s, _ = np.linalg.svd(matrix - matrix.mean(0), full_matrices=False)
    total = float((s**2).sum())
    return LanguageSpace(languages, matrix, (u * s)[:, :2], float((s[:2] ** 2).sum() / total) if total else 0.0)


def weight_dependence(
    text: TextRun, *, languages: int = 3, texts: int = 2, sets: int = 2, pairs: int = 5
) -> WeightDependence:
    """Which generated weights depend on what.

    Args:
        text: a run of MetaLSTM.
        languages: sources and as many other targets, at least 2 each; fewer where the run has fewer.
        texts: wordings.
        sets: sets of support pairs, drawn from the training lines of each pair of languages.
        pairs: pairs in a set; 0 for none.

    Raises:
        SettingsError: for a run of another learner, or sizes out of range.
    """
    learner = _meta_lstm(text)
    if languages < 2 or min(texts, sets) < 1 or pairs < 0:
        raise SettingsError(f"expected two languages and one text and set, got {languages}, {texts}, {sets}, {pairs}")
    sources, targets = _sides(text, languages)
    words = wordings("training")[:texts]
    sets = sets if pairs else 1
    levels = (len(sources), len(targets), len(words), sets)
    names = [name for generator in learner.generators.values() for name in generator.shapes]  # type: ignore[union-attr]
    shared = {name: p.detach().double() for name, p in learner.body.named_parameters() if name in names}
    sums = {n: [torch.zeros((count, *w.shape), dtype=torch.float64) for count in levels] for n, w in shared.items()}
    squares = dict.fromkeys(shared, 0.0)
    with torch.no_grad(), fused_kernels():
        for at in itertools.product(*map(range, levels)):
            support = _support(text, (sources[at[0]], targets[at[1]]), at[3], pairs)
            code = _code(text, learner, (sources[at[0]], targets[at[1]]), words[at[2]], support)
            written = learner.generated(code)["weights"]
            for name in shared:
                # The change alone: it is small beside the weight, whose square would drown it.
                change = written[name].double() - shared[name]
                squares[name] += float(change.square().sum())
                for factor, level in enumerate(at):
                    sums[name][factor][level] += change
    count = int(np.prod(levels))
    shares, sizes = {}, {}
    for name, weight in shared.items():
        shares[name], variance = _split(sums[name], squares[name], count, levels)
        sizes[name] = float((variance / count) ** 0.5 / weight.norm().clamp_min(1e-12))
    return WeightDependence(shares, sizes, dict(zip(FACTORS, levels, strict=True)))


def _split(sums: Sequence[Tensor], squares: float, count: int, levels: Sequence[int]) -> tuple[dict[str, float], float]:
    """Shares of the variance, and the sum of squares around the mean."""
    mean = sums[0].sum(0) / count
    total = max(squares - count * float(mean.square().sum()), 0.0)
    if total <= 1e-12 * max(squares, 1e-30):
        return dict.fromkeys((*FACTORS, "together"), 0.0), 0.0
    found = {}
    for factor, parts, number in zip(FACTORS, sums, levels, strict=True):
        each = count // number
        found[factor] = each * float((parts / each - mean).square().sum()) / total
    return {**found, "together": max(1.0 - sum(found.values()), 0.0)}, total


def _sides(text: TextRun, count: int) -> tuple[list[str], list[str]]:
    """Sources and other languages as targets, both trained, evenly chosen."""
    known = list(text.domain.corpus.trained_languages)
    if len(known) < 3:
        raise SettingsError(f"three trained languages are needed to vary a side, the run has {', '.join(known)}")
    chosen = known[:: max(1, len(known) // (2 * count))][: 2 * count]
    return chosen[0::2], chosen[1::2]


def _support(text: TextRun, pair: Pair, number: int, pairs: int) -> Examples:
    """The ``number``-th set of training lines of a pair."""
    train = text.domain.corpus.split("train")
    rows = train.rows(*pair)
    start = (number * pairs) % max(1, len(rows) - pairs)
    chosen = rows[start :: max(1, len(rows) // max(1, 2 * pairs))][:pairs]
    return encode_pairs(text.domain.subwords, [(train.text[pair[0]][r], train.text[pair[1]][r]) for r in chosen])


def _code(
    text: TextRun, learner: MetaLSTM, pair: Pair, wording: str = "", support: Examples | None = None
) -> dict[str, Tensor]:
    names = text.names(pair)
    words = describe(wording or wordings("plain")[0], *names)
    nobody = encode_pairs(text.domain.subwords, [])
    return learner.codes(support or nobody, description_tensors(text.domain.subwords, words, names))


def _meta_lstm(text: TextRun) -> MetaLSTM:
    if not isinstance(text.learner, MetaLSTM):
        raise SettingsError(f"only meta_lstm writes weights from descriptions, this is a run of {text.learner.name}")
    return text.learner
