from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from metacortex.errors import DataError, MissingExtraError, SettingsError
from metacortex.evaluation.translation import bleu_tokenizer, paired_bootstrap, score_translations

REFERENCES = [
    "A man in an orange hat is staring at something.",
    "A Boston Terrier is running on lush green grass.",
    "Five people are standing in front of an igloo.",
    "Two cats sleep.",
] * 10
GOOD = [line.replace("green ", "") for line in REFERENCES]
POOR = [line.replace("is", "was").replace("of an", "the") for line in GOOD]


def test_scores_are_those_of_sacrebleu() -> None:
    scores = score_translations(POOR, REFERENCES)
    assert scores.bleu == sacrebleu.corpus_bleu(POOR, [REFERENCES]).score
    assert scores.chrf == sacrebleu.corpus_chrf(POOR, [REFERENCES]).score
    assert 20 < scores.bleu < 80 < scores.chrf + 20
    assert scores.exact == 0.25
    assert scores.sentences == 40
    assert scores.bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert scores.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert set(scores.to_json()) == {"bleu", "chrf", "exact", "sentences", "bleu_signature", "chrf_signature"}


def test_exact_match_sees_case_but_no_spaces() -> None:
    assert score_translations(["a  dog ", "A dog", ""], ["a dog", "a dog", "a dog"]).exact == pytest.approx(1 / 3)


def test_tokenizers() -> None:
    assert [bleu_tokenizer(code) for code in ("en", "zh", "zh-TW", "ja", "th", "fr_CA")] == [
        "13a",
        "zh",
        "zh",
        "char",
        "char",
        "13a",
    ]
    assert score_translations(["猫在睡觉"], ["猫在睡觉"], tokenizer="zh").bleu == pytest.approx(100)
    with pytest.raises(SettingsError, match="no tokenizer 'nonsense'"):
        score_translations(["a"], ["a"], tokenizer="nonsense")


def test_bootstrap_compares_the_corpus_scores() -> None:
    found = paired_bootstrap({"a": (GOOD, POOR, REFERENCES)}, resamples=200)
    assert found.first == pytest.approx(sacrebleu.corpus_bleu(GOOD, [REFERENCES]).score)
    assert found.second == pytest.approx(sacrebleu.corpus_bleu(POOR, [REFERENCES]).score)
    assert found.difference.mean == pytest.approx(found.first - found.second)
    assert 0 < found.difference.low < found.difference.mean < found.difference.high
    assert found.difference.excludes_zero
    assert found.worse == 0
    assert paired_bootstrap({"a": (GOOD, POOR, REFERENCES)}, resamples=200) == found


def test_bootstrap_over_several_sets_takes_the_mean() -> None:
    sets = {"a": (GOOD, POOR, REFERENCES), "b": (POOR, POOR, REFERENCES)}
    found = paired_bootstrap(sets, resamples=50)
    alone = paired_bootstrap({"a": sets["a"]}, resamples=50)
    assert found.difference.mean == pytest.approx(alone.difference.mean / 2)
    swapped = paired_bootstrap({"a": (POOR, GOOD, REFERENCES)}, resamples=50)
    assert swapped.difference.mean == pytest.approx(-alone.difference.mean)
    assert swapped.worse == 1


def test_equal_systems_do_not_differ() -> None:
    """Negative control: errors that fall on either side at random."""
    rng = np.random.default_rng(0)
    coins = rng.integers(0, 2, len(REFERENCES))
    first = [g if coin else p for g, p, coin in zip(GOOD, POOR, coins, strict=True)]
    second = [p if coin else g for g, p, coin in zip(GOOD, POOR, coins, strict=True)]
    assert not paired_bootstrap({"a": (first, second, REFERENCES)}, resamples=200).difference.excludes_zero
    same = paired_bootstrap({"a": (GOOD, GOOD, REFERENCES)}, resamples=20)
    assert (same.difference.low, same.difference.high, same.worse) == (0, 0, 1)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for translations, references in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(DataError, match="as many translations as references"):
            score_translations(translations, references)
        with pytest.raises(DataError, match="as many translations as references"):
            paired_bootstrap({"a": (translations, translations, references)})
    with pytest.raises(DataError, match="at least one test set"):
        paired_bootstrap({})
    with pytest.raises(SettingsError, match="expected at least 2"):
        paired_bootstrap({"a": (["a"], ["a"], ["a"])}, resamples=1)
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(MissingExtraError, match=r"metacortex\[translate\]"):
        score_translations(["a"], ["a"])
