"""Scores of translations as others report them: BLEU and chrF of plain text by sacrebleu, with signatures.

References: Papineni et al., "BLEU", ACL 2002; Popović, "chrF", WMT 2015; Post, "A Call for Clarity in Reporting BLEU
Scores", WMT 2018 (sacrebleu); Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004
(paired bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metacortex.data.text.lines import clean
from metacortex.errors import DataError, MissingExtraError, SettingsError
from metacortex.evaluation.intervals import Interval

__all__ = ["BleuComparison", "TranslationScores", "bleu_tokenizer", "paired_bootstrap", "score_translations"]

_TOKENIZERS = {"zh": "zh", **dict.fromkeys(("ja", "ko", "th", "lo", "km", "my"), "char")}


@dataclass(frozen=True)
class TranslationScores:
    """Scores of translations of the same sentences.

    Attributes:
        bleu: corpus BLEU, 0 to 100.
        chrf: corpus chrF, 0 to 100.
        exact: share of translations that are their reference, 0 to 1; white space aside.
        sentences: how many.
        bleu_signature: how BLEU was measured; figures with another one cannot be compared.
        chrf_signature: likewise.
    """

    bleu: float
    chrf: float
    exact: float
    sentences: int
    bleu_signature: str
    chrf_signature: str

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON holds them."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"BLEU {self.bleu:.2f}, chrF {self.chrf:.2f}, exact {100 * self.exact:.1f} % ({self.sentences} sentences)"
        )


@dataclass(frozen=True)
class BleuComparison:
    """BLEU of two systems on the same sentences.

    Attributes:
        first: of the first system, averaged over the sets.
        second: of the second.
        difference: interval of ``first - second``, in points of BLEU.
        worse: share of the resamples in which the first is not above the second.
    """

    first: float
    second: float
    difference: Interval
    worse: float


def bleu_tokenizer(language: str) -> str:
    """The tokenizer of sacrebleu for text in a language: ``"13a"``, but where words are not set apart by spaces."""
    return _TOKENIZERS.get(language.split("-")[0].split("_")[0], "13a")


def score_translations(
    translations: Sequence[str], references: Sequence[str], *, tokenizer: str = "13a"
) -> TranslationScores:
    """Score plain (detokenised, cased) text against one reference each.

    Args:
        translations: of ``N`` sentences.
        references: of the same ones.
        tokenizer: of sacrebleu, see `bleu_tokenizer`.

    Raises:
        DataError: for no sentence, or different numbers of them.
        SettingsError: for a tokenizer that sacrebleu does not have here.
        MissingExtraError: if sacrebleu is not installed.

    Example:
        >>> lines = ["a dog runs in the snow", "two cats sleep"]
        >>> print(score_translations(lines, lines))
        BLEU 100.00, chrF 100.00, exact 100.0 % (2 sentences)
    """
    _check(translations, references)
    metrics = _sacrebleu()
    bleu, chrf = _bleu(tokenizer), metrics.CHRF()
    sides = list(translations), [list(references)]
    points = [metric.corpus_score(*sides).score for metric in (bleu, chrf)]
    exact = [clean(one) == clean(other) for one, other in zip(translations, references, strict=True)]
    signatures = [str(metric.get_signature()) for metric in (bleu, chrf)]
    return TranslationScores(points[0], points[1], sum(exact) / len(exact), len(exact), *signatures)


def paired_bootstrap(
    sets: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    tokenizers: Mapping[str, str] | None = None,
) -> BleuComparison:
    """Compare two systems on the same sentences of one or several test sets (directions of translation).

    The sentences of each set are drawn anew with replacement, the same for both systems; BLEU is averaged over the
    sets. The interval holds the middle of the resampled differences.

    Args:
        sets: name -> translations of the first system, of the second, references.
        resamples: how many.
        level: confidence, in (0, 1).
        seed: of the resampling.
        tokenizers: name -> tokenizer of sacrebleu; ``"13a"`` where none is named.

    Raises:
        DataError: for no set, no sentence, or different numbers of them.
        SettingsError: for fewer than two resamples, or a tokenizer that sacrebleu does not have here.
        MissingExtraError: if sacrebleu is not installed.
    """
    if not sets:
        raise DataError("a comparison needs at least one test set, got none")
    if resamples < 2:
        raise SettingsError(f"resamples: expected at least 2, got {resamples}")
    rng = np.random.default_rng(seed)
    totals = np.zeros((2, resamples + 1))  # [systems, all sentences and then the resamples]
    for name, (first, second, references) in sets.items():
        tokenizer = (tokenizers or {}).get(name, "13a")
        counts = len(references)
        weights = np.ones((resamples + 1, counts))
        weights[1:] = rng.multinomial(counts, np.full(counts, 1 / counts), resamples) if counts else 0
        for system, translations in enumerate((first, second)):
            _check(translations, references)
            totals[system] += _resampled(_statistics(translations, references, tokenizer), weights)
    totals /= len(sets)
    difference = totals[0] - totals[1]
    low, high = (float(q) for q in np.quantile(difference[1:], [0.5 - level / 2, 0.5 + level / 2]))
    return BleuComparison(
        float(totals[0, 0]),
        float(totals[1, 0]),
        Interval(float(difference[0]), (high - low) / 2, low, high, level),
        float((difference[1:] <= 0).mean()),
    )


def _statistics(translations: Sequence[str], references: Sequence[str], tokenizer: str) -> NDArray[np.float64]:
    """``[N, 10]``: for each sentence the matches of the four orders, how many there could be, and both lengths."""
    metric = _bleu(tokenizer, effective_order=True)  # of no effect on counts; without it each sentence is warned of
    scores = [metric.sentence_score(one, [other]) for one, other in zip(translations, references, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64)


def _resampled(statistics: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU of each row of weights: ``[resamples + 1]``."""
    compute = _sacrebleu().BLEU.compute_bleu
    sums = np.rint(weights @ statistics).astype(np.int64)  # [resamples + 1, 10]
    return np.array(
        [compute(row[:4], row[4:8], row[8], row[9], smooth_method="exp").score for row in map(np.ndarray.tolist, sums)]
    )


def _check(translations: Sequence[str], references: Sequence[str]) -> None:
    if not len(references) or len(translations) != len(references):
        raise DataError(
            f"expected as many translations as references, and at least one, got {len(translations)} and "
            f"{len(references)}"
        )


def _bleu(tokenizer: str, **options: Any) -> Any:
    try:
        return _sacrebleu().BLEU(tokenize=tokenizer, **options)
    except (KeyError, ImportError, RuntimeError):
        raise SettingsError(f"sacrebleu has no tokenizer '{tokenizer}' here") from None


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise MissingExtraError("scoring translations", "translate") from None
    return metrics
