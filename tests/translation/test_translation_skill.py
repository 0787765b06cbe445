"""A new pair of languages learnt from a file of examples: what is kept runs alone and says the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from metacortex.cli.main import main
from metacortex.errors import DataError, RunError, SettingsError
from metacortex.learners.transfer.multilingual import Multilingual
from metacortex.settings import from_mapping
from metacortex.skills.skill import Skill
from metacortex.skills.text import TranslationSkill, learn_translation
from metacortex.training.run import train
from metacortex.translation.translator import TextRun, encode_pairs

PAIRS = [("one two", "een twee"), ("three", "drie"), ("four five six", "vier vijf zes"), ("漢字 αβγ", "\x07 ünï 😀")]


@pytest.fixture(scope="module")
def skill(run: Path) -> TranslationSkill:
    return learn_translation(run, PAIRS, source="English", target="Dutch")


def test_the_generated_network_is_kept_and_runs_alone(run: Path, skill: TranslationSkill, tmp_path: Path) -> None:
    path = skill.save(tmp_path / "dutch.skill")
    copied = tmp_path / "elsewhere" / "dutch.skill"
    copied.parent.mkdir()
    shutil.move(path, copied)
    loaded = TranslationSkill.load(copied)
    assert isinstance(loaded.translator.learner, Multilingual)
    assert not hasattr(loaded.translator.learner, "generators")
    lines = ["one two three", "", "six"]
    text = TextRun(run)
    direct = text.adapted(("en", "Dutch"), "", PAIRS).translate(lines)
    assert [t.texts for t in loaded.translate(lines)] == [t.texts for t in direct]
    assert [t.texts for t in skill.translate(lines)] == [t.texts for t in direct]
    assert (loaded.pair, loaded.names, loaded.words) == (("en", "Dutch"), ("English", "Dutch"), "")
    assert (loaded.examples, loaded.provenance["learner"]) == (4, "meta_lstm")


def test_what_is_written_depends_on_the_examples(run: Path, skill: TranslationSkill) -> None:
    other = learn_translation(run, PAIRS[:1], source="en", target="Dutch")
    shared = TextRun(run).learner.body.state_dict()
    name = "decoder.weight_ih_l0"
    weights = [s.translator.state["weights"] for s in (skill, other)]
    assert not weights[0][name].equal(weights[1][name])
    assert not weights[0][name].equal(shared[name])
    assert weights[0]["embedding.weight"].equal(weights[1]["embedding.weight"])
    tuned = learn_translation(run, PAIRS[:1], source="en", target="Dutch", steps=2).translator.state["weights"]
    assert not tuned["embedding.weight"].equal(weights[1]["embedding.weight"])


def test_known_languages_are_told_in_words(run: Path) -> None:
    found = learn_translation(run, PAIRS[:2], source="en", target="German")
    assert (found.pair, found.words) == (("en", "de"), "translate English into German")
    assert learn_translation(run, PAIRS[:2], words="into Dutch").words == "into Dutch"
    assert learn_translation(run, PAIRS[:2]).pair == ("source", "target")
    with pytest.raises(SettingsError, match="en twice"):
        learn_translation(run, PAIRS, source="en", target="English")
    with pytest.raises(DataError, match="got none"):
        learn_translation(run, [])
    with pytest.raises(SettingsError, match="learning rate"):
        learn_translation(run, PAIRS, lr=0)


def test_a_multilingual_network_is_fine_tuned(counting: Path, tmp_path: Path) -> None:
    settings = from_mapping(
        {
            "learner": {"name": "multilingual"},
            "backbone": {"name": "seq2seq", "embedding": 16, "hidden": 16, "dropout": 0.0},
            "data": {"name": str(counting), "vocabulary": 300, "queries": 8, "shot": 2},
            "training": {"steps": 2, "tasks": 2, "validation_tasks": 2},
        }
    )
    train(settings, tmp_path / "many", progress=False)
    made = [
        learn_translation(tmp_path / "many", PAIRS[:3], source="en", target="nl", steps=steps, lr=0.01)
        for steps in (0, None)
    ]
    support = encode_pairs(made[0].translator.subwords, PAIRS[:3])
    losses = [float(s.translator.learner.score(s.translator.state, support).metrics["nll"]) for s in made]
    assert losses[1] < 0.5 * losses[0]
    reloaded = TranslationSkill.load(made[1].save(tmp_path / "nl.skill"))
    assert int(reloaded.translator.state["tag"]) == -1
    assert reloaded.translate(["three"])[0].texts == made[1].translate(["three"])[0].texts


def test_files_that_are_no_translation_skill(skill: TranslationSkill, tmp_path: Path) -> None:
    path = skill.save(tmp_path / "a.skill")
    with pytest.raises(RunError, match="use metacortex translate"):
        Skill.load(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    (tmp_path / "b.skill").write_bytes(bytes(data))
    with pytest.raises(RunError, match="checksum"):
        TranslationSkill.load(tmp_path / "b.skill")
    (tmp_path / "c.skill").write_bytes(b"nothing")
    with pytest.raises(RunError, match="not a skill"):
        TranslationSkill.load(tmp_path / "c.skill")


def test_the_commands(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = tmp_path / "pairs.tsv", tmp_path / "made.skill"
    table.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS) + "only one side\t\n", encoding="utf-8")
    assert main(["adapt", str(run), str(table), "--from", "en", "--to", "nl", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pair"], said["names"], said["examples"]) == (["en", "nl"], ["English", "nl"], 4)
    assert main(["translate", str(out), "--json", "one two", "", "five " * 400]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pair"], [t["cut"] for t in said["translations"]]) == (["en", "nl"], [False, False, True])
    assert main(["translate", str(out), "--from", "de", "one"]) == 2
    assert "leave out --from" in capsys.readouterr().err
    first, second = tmp_path / "a.en", tmp_path / "a.nl"
    first.write_text("one\ntwo\nthree\n")
    second.write_text("een\n\n")
    assert main(["adapt", str(run), str(first), str(second), "--out", str(out)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{first} has 3 lines and {second} has 2" in error
    second.write_text("een\n\ndrie\n")
    assert main(["adapt", str(run), str(first), str(second), "--out", str(out)]) == 0
    assert "from 2 example pairs" in capsys.readouterr().out
    for content, message in (
        (b"caf\xe9\tkoffie\n", "line 1: byte 0xe9 is no UTF-8"),
        (b"one\ttwo\tthree\n", "expected 2 columns"),
        (b"\n", "holds no pair"),
    ):
        table.write_bytes(content)
        assert main(["adapt", str(run), str(table), "--out", str(out)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert main(["adapt", str(run), str(table), "--norm", "running", "--out", str(out)]) == 2
    assert "no use for --norm" in capsys.readouterr().err


def test_a_skill_is_small_and_exact(skill: TranslationSkill, tmp_path: Path) -> None:
    """One network of the size of the shared one and the subwords, in single precision."""
    path = skill.save(tmp_path / "a.skill")
    weights = skill.translator.state["weights"]
    expected = 4 * sum(w.numel() for w in weights.values()) + len(skill.translator.subwords.model)
    assert expected <= path.stat().st_size < expected + 12_000
    again = TranslationSkill.load(path).translator.state["weights"]
    assert all(torch.equal(again[name], weights[name]) for name in weights)
