"""Sentences through a run: one answer per line whatever the line is, whole test sets, false descriptions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from metacortex.cli.main import main
from metacortex.errors import RunError, SettingsError
from metacortex.learners.base import State
from metacortex.learners.model.meta_lstm import MetaLSTM
from metacortex.learners.translation import Translations
from metacortex.task import Examples
from metacortex.translation.evaluate import FALSIFICATIONS, evaluate_translation
from metacortex.translation.picture import draw_attention
from metacortex.translation.translator import TextRun, encode_sentences


@pytest.fixture(scope="module")
def text(run: Path) -> TextRun:
    return TextRun(run)


def test_a_line_in_a_line_out(text: TextRun) -> None:
    lines = ["one two", "", "  \x07 ", "ünïcode 漢字 😀", "six " * 300, "one two"]
    found = text.translator("en", "German").translate(lines, beam=2)
    assert len(found) == len(lines)
    assert (found[1].texts, found[2].texts) == (("",), ("",))
    assert found[0] == found[5]
    twice = text.translator("en", "de").translate(["one", ""], beam=2, best=2)
    assert [len(t.texts) for t in twice] == [2, 2]
    assert [t.cut for t in found] == [False, False, False, False, True, False]


def test_order_and_batch_change_nothing(text: TextRun) -> None:
    translator = text.translator("en", "fr")
    lines = ["one", "two three four", "five six"]
    together = translator.translate(lines, beam=1)
    alone = [translator.translate([line], beam=1)[0] for line in lines]
    assert [t.texts for t in together] == [t.texts for t in alone]
    assert all(t.scores[0] >= t.scores[1] for t in translator.translate(lines, beam=3, best=2))


def test_the_description_counts(text: TextRun) -> None:
    states = [
        text.translator("en", "de").state,
        text.translator("en", "fr").state,
        text.translator("en", "de", words="into French").state,
        text.translator("en", "de", support=[("one", "eins"), ("two", "zwei")]).state,
    ]
    some = next(iter(states[0]["weights"]))
    names = [n for n in states[0]["weights"] if not states[0]["weights"][n].equal(states[1]["weights"][n])]
    assert names, some
    for other in states[1:]:
        assert any(not states[0]["weights"][n].equal(other["weights"][n]) for n in names)
    with pytest.raises(SettingsError, match="did you mean"):
        text.translator("en", "frr")


def test_attention_is_a_distribution_and_a_picture(text: TextRun, tmp_path: Path) -> None:
    found = text.translator("en", "de").translate(["one two three"], beam=2, attention=True)[0]
    assert found.attention is not None
    weights = found.attention.weights
    assert weights.shape == (len(found.attention.target), len(found.attention.source))
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    draw_attention(found.attention, tmp_path / "look.png")
    with Image.open(tmp_path / "look.png") as picture:
        assert min(picture.size) > 50


def test_whole_sets_with_true_and_false_descriptions(run: Path, text: TextRun) -> None:
    report = evaluate_translation(run, pairs="en-de,fr-en")
    assert [p.pair for p in report.pairs] == [("en", "de"), ("fr", "en")]
    assert all(p.scores.sentences == len(p.references) == 12 for p in report.pairs)
    assert set(report.pairs[0].falsified) == set(FALSIFICATIONS)
    assert report.path is not None
    saved = json.loads(report.path.read_text())
    assert saved["bleu"] == pytest.approx(sum(p.scores.bleu for p in report.pairs) / 2)
    assert saved["bleu_shuffled_description"] == report.mean("shuffled_description")
    again = evaluate_translation(run, pairs="en-de", falsify=False, save=False)
    assert again.pairs[0].translations == report.pairs[0].translations
    assert again.mean("wrong_description") is None


def test_sets_smaller_than_a_training_task_and_long_names(run: Path, counting: Path, tmp_path: Path) -> None:
    chosen = ",".join(["en-de", "fr-en", "de-en"] * 12)  # twelve lines each, training tasks had eight queries
    copy = shutil.copytree(run, tmp_path / "run")
    report = evaluate_translation(copy, pairs=chosen, sentences=2, falsify=False, checkpoint="last")
    assert len(report.pairs) == 3
    assert report.path is not None
    assert len(report.path.name) < 150
    assert "last" in report.path.name


def test_a_corpus_that_changed_and_lost_subwords_are_refused(counting: Path, tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    text = shutil.copytree(counting, tmp_path / "text")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace(str(counting), str(text)))
    TextRun(copy)
    lines = sorted(text.glob("train.de"))[0]
    lines.write_text(lines.read_text().replace("eins", "einz"))
    with pytest.raises(RunError, match="other text"):
        TextRun(copy)
    (copy / "subwords.model").unlink()
    with pytest.raises(RunError, match=r"lost subwords\.model"):
        TextRun(copy)


def test_what_makes_no_difference_is_translated_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[int] = []
    translate = MetaLSTM.translate

    def deaf(self: MetaLSTM, support: Examples, *, description: Any) -> State:
        return {"weights": dict(self.body.named_parameters())}

    def counted(self: MetaLSTM, *args: Any, **kwargs: Any) -> Translations:
        count.append(1)
        return translate(self, *args, **kwargs)

    monkeypatch.setattr(MetaLSTM, "adapt", deaf)
    monkeypatch.setattr(MetaLSTM, "translate", counted)
    report = evaluate_translation(run, pairs="en-de,fr-en", save=False)
    assert len(count) == 2  # one network for each pair of languages, whatever it is told
    assert all(set(row.falsified.values()) == {row.scores.bleu} for row in report.pairs)


def test_a_learner_of_images_does_not_translate(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        TextRun(tmp_path)


def test_the_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "look.png"
    args = ["translate", str(run), "--from", "en", "--to", "fr", "--attention", str(picture)]
    assert main([*args, "--json", "one two", ""]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["command"], said["pair"], len(said["translations"])) == ("translate", ["en", "fr"], 2)
    assert picture.is_file()
    assert main(["translate", str(run), "--from", "en", "--to", "fr", "--best", "2", "--beam", "2", "one"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["evaluate", str(run), "--pairs", "en-fr", "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"bleu", "chrf", "bleu_shuffled_description", "protocol"} <= set(said)
    assert main(["evaluate", str(run), "--way", "3"]) == 2
    assert "--way is for runs on images" in capsys.readouterr().err
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("one\teins\ntwo\tzwei\n")
    assert main(["translate", str(run), "--from", "en", "--to", "de", "--pairs", str(pairs), "three"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(TextRun, "learns_from_examples", False)
    assert main(["translate", str(run), "--from", "en", "--to", "de", "--pairs", str(pairs), "three"]) == 2
    assert "metacortex adapt" in capsys.readouterr().err
    assert main(["translate", str(run), "--from", "en"]) == 2
    assert "--to" in capsys.readouterr().err


def test_sentences_are_padded() -> None:
    tokens, lengths = encode_sentences([[5, 6], [], [7]], end=True)
    assert tokens.tolist() == [[5, 6, 2], [2, 0, 0], [7, 2, 0]]
    assert lengths.tolist() == [3, 1, 2]
    assert encode_sentences([[]])[0].shape == (1, 1)
