"""Runs on sentences: the subwords travel with the run, the lowest loss per token is the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from counting_files import write_counting
from metacortex.errors import SettingsError
from metacortex.evaluation.run import evaluate_run, load_run
from metacortex.runs.log import read_log
from metacortex.runs.translation import TranslationDomain, load_text
from metacortex.settings import RunSettings, TextSettings, from_mapping, from_toml, merge, to_toml
from metacortex.training.run import train

pytest.importorskip("sentencepiece", reason="needs the extra 'translate'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_counting(tmp_path_factory.mktemp("text"), ("en", "de"))


def settings(folder: Path, **training: object) -> RunSettings:
    return from_mapping(
        {
            "learner": {"name": "meta_lstm", "code": 8, "rank": 2},
            "backbone": {"name": "seq2seq", "embedding": 16, "hidden": 16, "dropout": 0.1},
            "data": {"name": str(folder), "vocabulary": 300, "queries": 8},
            "training": {"steps": 4, "tasks": 2, "validate_every": 2, "validation_tasks": 2, **training},
        }
    )


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "numbers"
    train(settings(folder), out, progress=False)
    return out


def test_settings_follow_the_learner(folder: Path) -> None:
    found = settings(folder)
    assert isinstance(found.data, TextSettings)
    assert from_toml(to_toml(found)) == found
    changed = merge(RunSettings(), {"learner.name": "meta_lstm"})
    assert isinstance(changed.data, TextSettings)
    assert (changed.data.name, changed.backbone.name) == ("phrasebook", "seq2seq")
    assert changed.backbone.options == {"embedding": 128, "hidden": 128}
    assert merge(RunSettings(), {"learner.name": "meta_lstm", "data.name": "multi30k"}).backbone.options == {}
    assert merge(changed, {"learner.name": "protonet"}) == RunSettings()


def test_a_run_keeps_its_subwords_and_is_scored_by_the_token(run: Path) -> None:
    assert (run / "subwords.model").is_file()
    scores = {line["step"]: line["val_nll"] for line in read_log(run / "log.jsonl") if "val_nll" in line}
    assert sorted(scores) == [2, 4]
    assert scores[4] < scores[2]
    result = evaluate_run(run, tasks=3)
    assert result.metric == "nll"
    assert (result.details["description"], result.details["shot"]) == ("any", 8)
    assert load_run(run).learner.body.settings.languages == 2


def test_an_interrupted_run_continues_to_the_same_weights(run: Path, folder: Path, tmp_path: Path) -> None:
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    assert train(settings(folder), tmp_path / "r", progress=stop).interrupted
    second = train(None, tmp_path / "r", resume=True, progress=False)
    whole = train(settings(folder), run, resume=True, progress=False)
    for name, value in whole.learner.state_dict().items():
        assert second.learner.state_dict()[name].equal(value)


def test_a_run_keeps_to_the_languages_that_it_is_told(folder: Path) -> None:
    domain = TranslationDomain(TextSettings(name=str(folder), vocabulary=300, languages="de, en"))
    assert list(domain.corpus.languages) == ["de", "en"]
    with pytest.raises(SettingsError, match="unknown language"):
        TranslationDomain(TextSettings(name=str(folder), languages="de,fr"))


def test_topics_are_the_kinds_that_a_corpus_knows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = TextSettings(name=str(folder), vocabulary=300, topics=2)
    plain = load_text(asked)
    kinds = {name: ("few", "many", "none") * (len(part) // 3) for name, part in plain.splits.items()}
    splits = {name: replace(part, groups=kinds[name]) for name, part in plain.splits.items()}
    monkeypatch.setattr("metacortex.runs.translation.load_text", lambda _: replace(plain, splits=splits))
    topics = TranslationDomain(asked).topics
    assert topics is not None
    assert topics.names == ("few", "many", "none")
    assert topics.rows("test", 1).tolist() == [1, 4, 7, 10]
    assert TranslationDomain(replace(asked, topics=0)).topics is None
