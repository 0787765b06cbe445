"""Reasons for translations: by leaving out, against what the learner itself says without; and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metacortex.cli.main import main
from metacortex.errors import DataError
from metacortex.explain.translation import TranslationExplanation, explain_translation
from metacortex.explain.translation_page import translation_page
from metacortex.translation.translator import TextRun, encode_sentences

PAIRS = [("one two", "eins zwei"), ("three", "drei")]


@pytest.fixture(scope="module")
def text(run: Path) -> TextRun:
    return TextRun(run)


@pytest.fixture(scope="module")
def found(text: TextRun) -> TranslationExplanation:
    return explain_translation(text, "en", "de", "one two three", support=PAIRS)


def log_p(text: TextRun, found: TranslationExplanation, tokens: list[int], words: str, support: list) -> torch.Tensor:
    """Of what was written, a subword at a time, as the learner says it by itself."""
    translator = text.translator("en", "de", words=words, support=support)
    source, length = encode_sentences([tokens])
    written = translator.learner.translate(
        text.translator("en", "de", support=PAIRS).state,
        *encode_sentences([translator.subwords.encode("one two three")]),
    ).tokens[:, 0, : len(found.written)]
    with torch.no_grad():
        logits = translator.learner.predict(
            translator.state, {"source": source, "source_length": length, "target": written}
        )
    return logits.log_softmax(-1)[0].gather(-1, written[0][:, None])[:, 0]


def test_what_is_left_out_is_missed(text: TextRun, found: TranslationExplanation) -> None:
    words, subwords = " ".join(found.words), text.domain.subwords
    tokens = subwords.encode("one two three")
    full = log_p(text, found, tokens, words, PAIRS)
    torch.testing.assert_close(found.probabilities, full.exp(), atol=1e-5, rtol=1e-4)
    assert found.influence.shape == (len(found.written), len(found.read))
    for i in (0, len(tokens) - 1):
        rest = log_p(text, found, tokens[:i] + tokens[i + 1 :], words, PAIRS)
        torch.testing.assert_close(found.influence[:, i], full - rest, atol=1e-5, rtol=1e-4)
    others = log_p(text, found, tokens, " ".join(found.words[1:]), PAIRS)
    torch.testing.assert_close(found.word_influence[0], (full - others).sum(), atol=1e-4, rtol=1e-4)
    fewer = log_p(text, found, tokens, words, PAIRS[:1])
    torch.testing.assert_close(found.pair_influence[1], (full - fewer).sum(), atol=1e-4, rtol=1e-4)
    assert len(found.pairs) == 2
    assert found.words


def test_attention_is_of_the_same_subwords(found: TranslationExplanation) -> None:
    if found.attention is not None:
        assert found.attention.shape == found.influence.shape
        torch.testing.assert_close(found.attention.sum(1), torch.ones(len(found.written)))


def test_a_page_with_pictures(found: TranslationExplanation) -> None:
    page = translation_page("t", "l", [found]).to_html()
    assert page.count("data:image/png;base64,") >= 1
    json.dumps(found.to_json(), allow_nan=False)


def test_nothing_to_explain(text: TextRun) -> None:
    with pytest.raises(DataError, match="the sentence is empty"):
        explain_translation(text, "en", "de", "  ")


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "why.html"
    assert main(["explain", str(run), "two one", "--from", "en", "--to", "fr", "--out", str(page), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["sentences"]
    assert said["source"] == "two one"
    assert page.is_file()
    assert main(["explain", str(run), "--from", "en", "--to", "fr"]) == 2
    assert "what to translate" in capsys.readouterr().err
