"""Scores against the number of examples: all runs are shown the same pairs; runs against each other."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from metacortex.cli.main import main
from metacortex.data.text.corpus import Corpus, Sentences
from metacortex.errors import DataError, RunError, SettingsError
from metacortex.evaluation.translation import TranslationScores
from metacortex.settings import TextSettings
from metacortex.translation.curves import FewShotCurves, few_shot_curves, write_curves
from metacortex.translation.evaluate import PairScores, TranslationReport, asked_for, chosen_pairs, compare_translations


@pytest.fixture(scope="module")
def curves(run: Path) -> FewShotCurves:
    return few_shot_curves([run], shots=(3, 0), pairs="en-de", sentences=4, tune_steps=2)


def test_a_curve_per_run_and_one_from_scratch(curves: FewShotCurves) -> None:
    assert [(c.label, [p.shot for p in c.points]) for c in curves.curves] == [
        ("meta_lstm", [0, 3]),
        ("meta_lstm, then fine-tuned", [0, 3]),
        ("from scratch", [0, 3]),
    ]
    first, tuned, scratch = curves.curves
    assert tuned.points[0].translations == first.points[0].translations  # nothing to be fine-tuned on
    assert all(p.difference is None for p in first.points)
    assert all(set(p.cells) == {"en-de"} and p.cells["en-de"].sentences == 4 for c in curves.curves for p in c.points)
    for point, base in zip(scratch.points, first.points, strict=True):
        assert point.difference is not None
        assert point.difference.first == pytest.approx(point.bleu)
        assert point.difference.second == pytest.approx(base.bleu)
    assert "described by both" in curves.protocol


def test_curves_are_written_and_drawn(curves: FewShotCurves, tmp_path: Path) -> None:
    files = write_curves(curves, tmp_path / "out")
    said = json.loads(files[0].read_text())
    assert [row["label"] for row in said["curves"]] == ["meta_lstm", "meta_lstm, then fine-tuned", "from scratch"]
    assert said["curves"][1]["points"][0]["difference_ci95"] is not None
    with Image.open(files[1]) as picture:
        assert min(picture.size) > 200
    assert files[2].read_bytes().lstrip().startswith(b"<?xml")


def test_curves_that_cannot_be(run: Path) -> None:
    with pytest.raises(SettingsError, match="0 runs"):
        few_shot_curves([])
    with pytest.raises(SettingsError, match="from 0"):
        few_shot_curves([run], shots=(-1,))
    with pytest.raises(SettingsError, match="'both' or 'pairs'"):
        few_shot_curves([run], description="words")
    with pytest.raises(SettingsError, match="without topics"):
        few_shot_curves([run], pairs="en-de", topics=(0,))
    with pytest.raises(SettingsError, match="no pairs of the kind 'held_out'"):
        few_shot_curves([run])
    with pytest.raises(DataError, match="lower shot"):
        few_shot_curves([run], shots=(500,), pairs="en-de")


def test_a_run_that_knows_what_is_new_to_the_first_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace('pairs = ""', 'pairs = "en-fr"'))
    with pytest.raises(RunError, match=r"trained on en-de, which is new to"):
        few_shot_curves([copy, run], shots=(0,), pairs="en-de", sentences=2)


def report(**translations: list[str]) -> TranslationReport:
    scores = TranslationScores(0.0, 0.0, 0.0, 3, "", "")
    references = ("a dog runs in the snow", "two cats sleep on a mat", "the man reads a long book")
    rows = tuple(
        PairScores(tuple(name.split("_")), scores, {}, tuple(lines), references)  # type: ignore[arg-type]
        for name, lines in translations.items()
    )
    return TranslationReport(rows, "-", "some")


def test_runs_against_each_other() -> None:
    right = list(report(a_b=[]).pairs[0].references)
    wrong = ["nothing at all is right here"] * 3
    ours = report(a_b=right, b_a=right)
    together, (first, second) = compare_translations(ours, [report(a_b=wrong), report(b_a=right)], resamples=50)
    assert first.difference.excludes_zero
    assert (first.first, first.worse) == (pytest.approx(100.0), 0.0)
    assert (second.difference.mean, second.worse) == (0.0, 1.0)
    assert together.difference.mean == pytest.approx(first.difference.mean / 2)
    with pytest.raises(DataError, match="both were scored on"):
        compare_translations(ours, [report(c_d=right)])
    other = report(a_b=wrong)
    moved = replace(other, pairs=(replace(other.pairs[0], references=("x", "y", "z")),))
    with pytest.raises(DataError, match="other sentences"):
        compare_translations(ours, [moved])


def test_pairs_are_chosen_evenly() -> None:
    codes = ["aa", "bb", "cc", "dd"]
    corpus = Corpus("c", "-", dict.fromkeys(codes, "x"), {"train": Sentences(dict.fromkeys(codes, ("l",)))})
    every = chosen_pairs(corpus, "trained")
    assert len(every) == 12
    assert chosen_pairs(corpus, "trained", 20) == chosen_pairs(corpus, "trained", 12) == every
    assert chosen_pairs(corpus, "trained", 3) == (every[2], every[6], every[10])
    assert chosen_pairs(corpus, "aa-bb,cc-dd", 1) == (("cc", "dd"),)


def test_what_is_told_when_tested() -> None:
    settings = TextSettings(description="any", shot=8)
    assert (asked_for(settings).description, asked_for(settings).shot) == ("both", 8)
    assert (asked_for(settings, 0, "pairs").description, asked_for(settings, 0, "pairs").shot) == ("pairs", 0)
    assert asked_for(settings, None, "words").shot == 0
    with pytest.raises(SettingsError, match="no support pairs, got shot=2"):
        asked_for(settings, 2, "words")


def test_the_commands(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["evaluate", str(run), "--pairs", "en-de", "--sentences", "3", "--quiet"]
    assert main([*base, "--against", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["difference"], row["ci95"]) for row in said["against"]] == [(str(run), 0.0, [0.0, 0.0])]
    kept = run / "eval" / "translation-test-en-de-3sentences-both-3shot-beam1.json"
    assert main([*base, "--against", str(kept), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["against"] == [{**said["against"][0], "run": str(kept)}]
    assert main([*base, "--against", str(run / "run.json")]) == 2
    assert "is no report of translations" in capsys.readouterr().err
    assert main([*base, "--shots", "0,2", "--out", str(tmp_path / "curve")]) == 0
    out = capsys.readouterr().out
    assert "from scratch" in out
    assert (tmp_path / "curve" / "few-shot.svg").is_file()
    assert main([*base, "--shots", "some"]) == 2
    assert "numbers with commas" in capsys.readouterr().err
    page = (run / "report.html").read_text()
    for title in ("The space of descriptions", "What generated weights depend on", "Attention of a translation"):
        assert title in page
    assert "paired" not in page
    assert "shuffled description" in page
