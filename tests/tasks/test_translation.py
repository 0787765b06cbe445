from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.text.corpus import Corpus, Sentences
from metacortex.data.text.encoded import EncodedCorpus
from metacortex.data.text.subwords import EOS, PAD
from metacortex.errors import DataError, SettingsError
from metacortex.task import Examples, Task, stack_tasks
from metacortex.tasks.descriptions import TRAINING, UNSEEN, description_tensors, name_ends
from metacortex.tasks.source import TaskSource
from metacortex.tasks.topics import Topics
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import TranslationSpec
from metacortex.tasks.vocabulary import learn_subwords, vocabulary_lines

PIN_DRAWN = "3b2fa9d376c47dafb8c3ac0377d8214b021e7b15994af8178a1fc7308bf739ca"
PIN_EPOCHS = "6a036efec5fb70b5a70a09ce5cde9d22bfd92471d42b6185357095d0fa90c5ee"
PIN_MULTI30K = "22375f15c8c359f3fd8dff26e60440e12b95652881c72228924e59ec6df41e15"
NAMES = {"en": "English", "fr": "French", "nl": "Dutch", "da": "Danish"}
WORDS = {"en": ("dog", "red"), "fr": ("chien", "rouge"), "nl": ("hond", "rood"), "da": ("hund", "rød")}
BOTH = TranslationSpec((0, 4), (2, 5), "both")


def sentences(count: int, first: int) -> Sentences:
    """Sentences of growing length that say their own number; Dutch lacks every fifth."""
    text = {
        code: tuple(f"{noun} {n}" + f" {word}" * (n % 4) for n in range(first, first + count))
        for code, (noun, word) in WORDS.items()
    }
    text["nl"] = tuple("" if i % 5 == 0 else line for i, line in enumerate(text["nl"]))
    return Sentences(text, groups=tuple("ab"[n % 2] for n in range(count)))


@pytest.fixture(scope="module")
def text() -> EncodedCorpus:
    splits = {"train": sentences(60, 100), "val": sentences(20, 200), "test": sentences(30, 300)}
    corpus = Corpus("tiny", "", NAMES, splits, (("fr", "nl"), ("nl", "en")), {"test": ("da",)})
    return EncodedCorpus(corpus, learn_subwords(corpus, 330))


def make(text: EncodedCorpus, spec: TranslationSpec = BOTH, split: str = "train", **options: Any) -> TranslationTasks:
    return TranslationTasks(text, spec, **{"seed": 0, **options}, split=split)


def written(text: EncodedCorpus, examples: Examples) -> list[tuple[str, str]]:
    """The pairs of sentences that the tensors say, without what is masked."""
    rows = range(len(examples.targets)) if examples.mask is None else examples.mask.nonzero()[:, 0].tolist()
    out = []
    for row in rows:
        source, length = examples.inputs["source"][row].tolist(), int(examples.inputs["source_length"][row])
        assert not any(source[length:])
        target = examples.targets[row].tolist()
        end = target.index(EOS)
        assert set(target[end + 1 :]) <= {PAD}
        assert PAD not in target[:end]
        out.append((text.subwords.decode(source[:length]), text.subwords.decode(target)))
    return out


def test_tensors_say_the_lines_that_info_names(text: EncodedCorpus) -> None:
    tasks = make(text)
    for index in range(40):
        task = tasks.task(index)
        lines = text.corpus.split("train").text
        pair = (task.info["source"], task.info["target"])
        for part, rows in ((task.support, task.info["support"]), (task.query, task.info["query"])):
            assert written(text, part) == [(lines[pair[0]][r], lines[pair[1]][r]) for r in rows]
            assert part.mask is None
            assert part.classes is None
            assert (
                part.targets.dtype == part.inputs["source"].dtype == part.inputs["source_length"].dtype == torch.int64
            )
        assert tasks.sentences(task.info) == tuple(map(list, zip(*written(text, task.query), strict=True)))
        tokens, length = task.description["tokens"].tolist(), int(task.description["length"])
        assert len(tokens) == length
        assert tokens[-1] == EOS
        assert text.subwords.decode(tokens) == task.info["description"]
        for end, code in (("source", pair[0]), ("target", pair[1])):
            at = int(task.description[f"{end}_position"])
            assert text.subwords.decode(tokens[: at + 1]).endswith(NAMES[code])
        assert NAMES[pair[0]] in task.info["description"]
        assert NAMES[pair[1]] in task.info["description"]
        assert [int(task.description[f"{end}_language"]) for end in ("source", "target")] == [
            list(NAMES).index(code) for code in pair
        ]
        assert task.info["index"] == index


def test_tasks_described_by_any_are_described_by_words_pairs_or_both(text: EncodedCorpus) -> None:
    both = TranslationTasks(text, TranslationSpec((0, 3), 2, "both"), seed=0, split="train")
    every = both.but(description="any")
    kinds = Counter()
    for i in range(300):
        plan, whole = every.plan(i), both.plan(i)
        assert (plan.pair, plan.query.tolist(), plan.told) == (whole.pair, whole.query.tolist(), whole.told)
        assert plan.words in ("", whole.words)
        assert plan.support.tolist() in ([], whole.support.tolist())
        assert plan.words or len(plan.support)
        if len(whole.support):
            kinds[bool(plan.words), len(plan.support) > 0] += 1
    assert set(kinds) == {(True, True), (True, False), (False, True)}
    assert min(kinds.values()) > 50


def test_names_are_found_in_descriptions(text: EncodedCorpus) -> None:
    ends = name_ends("into French, from english please", "English", "French")
    assert ends == (len("into French, from english"), len("into French"))
    assert name_ends("Frenchman", "English", "French") == (-1, -1)
    found = description_tensors(text.subwords, "into French, from  English", ("English", "French"), (0, 1))
    tokens = found["tokens"].tolist()
    assert text.subwords.decode(tokens[: int(found["target_position"]) + 1]) == "into French"
    assert text.subwords.decode(tokens[: int(found["source_position"]) + 1]) == "into French, from English"
    spans = [slice(int(found[f"{side}_start"]), int(found[f"{side}_position"]) + 1) for side in ("source", "target")]
    assert [text.subwords.decode(tokens[span]) for span in spans] == ["English", "French"]


def test_sizes_and_pairs_are_drawn_evenly(text: EncodedCorpus) -> None:
    plans = [make(text).plan(i) for i in range(1200)]
    assert {len(p.support) for p in plans} == {0, 1, 2, 3, 4}
    assert {len(p.query) for p in plans} == {2, 3, 4, 5}
    pairs = Counter(p.pair for p in plans)
    assert set(pairs) == {("en", "fr"), ("fr", "en"), ("en", "nl"), ("nl", "fr")}
    assert max(pairs.values()) < 1.2 * min(pairs.values())
    said = {p.words.replace(NAMES[p.pair[0]], "{source}").replace(NAMES[p.pair[1]], "{target}") for p in plans}
    assert said < set(TRAINING)
    assert len(said) > 500
    seen = Counter(int(row) for p in plans for row in p.query)
    assert set(seen) == set(range(60))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.integers(0, 10**6), st.sampled_from(["drawn", "epochs"]))
def test_support_and_query_share_no_line(text: EncodedCorpus, seed: int, index: int, order: Any) -> None:
    spec = TranslationSpec((0, 6), 4, "pairs", order=order)
    plan = make(text, spec, seed=seed).plan(index)
    assert not set(plan.support) & set(plan.query)
    assert len(set(plan.support)) == len(plan.support)
    assert len(set(plan.query)) == len(plan.query)


@pytest.mark.parametrize("order", ["drawn", "epochs"])
def test_held_out_pairs_and_languages_never_train(text: EncodedCorpus, order: Any) -> None:
    tasks = make(text, replace(BOTH, queries=4, order=order))
    held = {*text.corpus.pairs("held_out"), *text.corpus.pairs("new_test")}
    assert len(held) == 2 + 6
    for index in range(300):
        task = tasks.task(index)
        assert (task.info["source"], task.info["target"]) not in held
        assert not any("hund " in s + t for s, t in written(text, task.support) + written(text, task.query))
        assert "Danish" not in task.info["description"]
    assert not any("Danish" in line or "hund " in line for line in vocabulary_lines(text.corpus))
    assert set(make(text, BOTH, "test", pairs=text.corpus.pairs("new_test")).pairs) <= held


def assert_same(a: Task, b: Task) -> None:
    for part in ("support", "query"):
        x, y = getattr(a, part), getattr(b, part)
        for one, other in ((x.inputs["source"], y.inputs["source"]), (x.targets, y.targets), (x.mask, y.mask)):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)
    assert all(torch.equal(a.description[key], b.description[key]) for key in a.description)
    assert a.info == b.info


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), st.sampled_from(["drawn", "epochs"]))
def test_tasks_are_the_same_for_any_batching(text: EncodedCorpus, indices: list[int], order: Any) -> None:
    spec = replace(BOTH, queries=5, order=order)
    batch = make(text, spec).batch(indices)
    other = make(text, spec)
    assert_same(batch, stack_tasks([other.task(i) for i in reversed(indices)][::-1]))
    for place, index in enumerate(indices):
        alone = other.task(index)
        for part in ("support", "query"):
            one, stacked = getattr(alone, part), getattr(batch, part)
            mask = None if stacked.mask is None else stacked.mask[place]
            inputs = {key: value[place] for key, value in stacked.inputs.items()}
            assert written(text, Examples(inputs, stacked.targets[place], mask)) == written(text, one)


def test_what_is_told_changes_no_query(text: EncodedCorpus) -> None:
    tasks = make(text, replace(BOTH, shot=3), "test")
    variants = [
        tasks.but(told="shuffled"),
        tasks.but(told="wrong"),
        tasks.but(told="empty"),
        tasks.but(wording="unseen"),
        tasks.but(description="pairs"),
        tasks.but(shot=1),
    ]
    for index in range(60):
        true = tasks.plan(index)
        shuffled, wrong, empty, unseen, pairs, fewer = (v.plan(index) for v in variants)
        for plan in (shuffled, wrong, empty, unseen, pairs, fewer):
            assert plan.query.tolist() == true.query.tolist()
            assert plan.pair == true.pair
        assert shuffled.told != true.pair
        assert wrong.told is not None
        assert wrong.told[0] == true.pair[0]
        assert wrong.told[1] != true.pair[1]
        assert (empty.told, empty.words, len(empty.support)) == (None, "", 0)
        assert unseen.words.replace(NAMES[true.pair[0]], "{source}").replace(NAMES[true.pair[1]], "{target}") in UNSEEN
        assert (pairs.words, pairs.support.tolist()) == ("", true.support.tolist())
        assert fewer.support.tolist() == true.support[:1].tolist()
    task = variants[1].task(0)
    told = task.info["told"]
    lines = text.corpus.split("train").text
    assert written(text, task.support) == [(lines[told[0]][r], lines[told[1]][r]) for r in task.info["support"]]
    assert int(task.description["target_language"]) == list(NAMES).index(told[1])
    task = variants[2].task(0)
    assert {key: value.tolist() for key, value in task.description.items()} == {
        "tokens": [],
        "length": 0,
        "source_language": -1,
        "target_language": -1,
        "source_position": -1,
        "source_start": 0,
        "target_start": 0,
        "target_position": -1,
    }
    assert task.support.inputs["source"].shape == (0, 1)


def test_epochs_show_every_line_of_every_pair_once(text: EncodedCorpus) -> None:
    tasks = make(text, TranslationSpec(0, 7, order="epochs"))
    wanted = {(pair, row) for pair in tasks.pairs for row in text.corpus.split("train").rows(*pair).tolist()}
    orders = []
    for epoch in range(2):
        plans = [tasks.plan(i) for i in range(epoch * tasks.epoch, (epoch + 1) * tasks.epoch)]
        shown = [(p.pair, int(row)) for p in plans for row in p.query]
        assert len(shown) == len(wanted)
        assert set(shown) == wanted
        assert max(len(p.query) for p in plans) == 7
        assert min(len(p.query) for p in plans) >= 6
        orders.append(shown)
    assert orders[0] != orders[1]
    assert make(text).epoch == 0


def test_epochs_pad_little(text: EncodedCorpus) -> None:
    def padding(order: Any) -> float:
        tasks = make(text, TranslationSpec(0, 7, order=order))
        parts = [tasks.task(i).query.targets for i in range(32)]
        return sum(int((t == PAD).sum()) for t in parts) / sum(t.numel() for t in parts)

    assert padding("epochs") < 0.5 * padding("drawn")


def test_covering_translates_every_line_once(text: EncodedCorpus) -> None:
    tasks = make(text, replace(BOTH, max_length=8), "test", pairs="en-fr,fr-en")
    for pair, count in ((("fr", "en"), 30), (("da", "nl"), 24)):
        parts = tasks.covering(pair, size=7, shot=3)
        rows = [row for task in parts for row in task.info["query"]]
        assert sorted(rows) == text.corpus.split("test").rows(*pair).tolist()
        assert len(rows) == count
        lengths = [int(n) for task in parts for n in task.query.inputs["source_length"]]
        assert lengths == sorted(lengths)
        assert max(lengths) == 8
        assert len({(t.info["description"], tuple(t.info["support"])) for t in parts}) == 1
        assert len(parts[0].info["support"]) == 3
        assert tasks.sentences(parts[0].info)[1][0] == text.corpus.split("test").text[pair[1]][rows[0]]
    assert len({t.covering(("en", "fr"), variant=v)[0].info["description"] for t in [tasks] for v in range(9)}) > 3
    assert (
        tasks.covering(("en", "fr"))[0].info["support"][:2] == tasks.covering(("en", "fr"), shot=2)[0].info["support"]
    )
    some = [row for task in tasks.covering(("en", "fr"), size=4, limit=10) for row in task.info["query"]]
    assert sorted(some) == list(range(10))
    inside = make(text, replace(BOTH, shot=3), "train")
    part = inside.covering(("en", "fr"), size=100)[0]
    assert len(part.info["query"]) == 57
    assert not set(part.info["query"]) & set(part.info["support"])
    false = tasks.but(told="wrong").covering(("da", "nl"))[0]
    assert false.info["told"] is not None
    with pytest.raises(SettingsError, match="positive size"):
        tasks.covering(("en", "fr"), size=0)
    with pytest.raises(SettingsError, match="has no support pairs, got shot=2"):
        tasks.but(description="words", shot=0).covering(("en", "fr"), shot=2)


def test_long_sentences_are_in_no_task(text: EncodedCorpus) -> None:
    tasks = make(text, replace(BOTH, max_length=6, shot=(0, 1)))
    lengths = text.split("train").lengths
    for index in range(50):
        task = tasks.task(index)
        for code in (task.info["source"], task.info["target"]):
            assert lengths[text.corpus.number(code), task.info["query"] + task.info["support"]].max() <= 6


def test_topics(text: EncodedCorpus) -> None:
    topics = Topics.of_groups(text.corpus)
    tasks = make(text, topics=topics)
    for index in range(30):
        plan = tasks.plan(index)
        assert plan.topic in ("a", "b")
        assert {text.corpus.split("train").groups[r] for r in [*plan.query, *plan.support]} == {plan.topic}
        assert plan.words.endswith(f", about {plan.topic}")
    assert {make(text, topics=topics, only_topics=[1]).plan(i).topic for i in range(20)} == {"b"}
    assert tasks.but(told="empty").plan(0).query.tolist() == tasks.plan(0).query.tolist()
    assert "within 2 topics" in tasks.protocol
    with pytest.raises(SettingsError, match=r"topics are numbered 0\.\.1, got \[2\]"):
        make(text, topics=topics, only_topics=[2])
    with pytest.raises(DataError, match="no topic has enough lines"):
        make(text, replace(BOTH, queries=31), topics=topics)


def test_features_are_inputs(text: EncodedCorpus) -> None:
    train = text.corpus.split("train")
    features = np.arange(120, dtype=np.float32).reshape(60, 2)
    corpus = replace(text.corpus, splits={"train": replace(train, features=features)})
    task = make(EncodedCorpus(corpus, text.subwords)).task(3)
    assert task.query.inputs["image"].tolist() == features[task.info["query"]].tolist()
    assert task.support.inputs["image"].shape == (len(task.info["support"]), 2)


def test_pickling_and_protocol(text: EncodedCorpus) -> None:
    tasks = make(text, split="val")
    assert isinstance(tasks, TaskSource)
    assert tasks.protocol == (
        "en-fr, en-nl, fr-en, nl-fr of tiny, 0..4 support pairs, 2..5 queries, described by both, split val"
    )
    assert_same(pickle.loads(pickle.dumps(tasks)).batch([1, 5]), tasks.batch([1, 5]))


def test_the_first_tasks_are_pinned(text: EncodedCorpus) -> None:
    assert make(text).fingerprint(200) == PIN_DRAWN
    assert make(text, TranslationSpec(2, 7, "both", order="epochs")).fingerprint(200) == PIN_EPOCHS


def test_fingerprints_differ(text: EncodedCorpus) -> None:
    tasks = make(text)
    others = [make(text, seed=1), make(text, split="val"), tasks.but(shot=2), tasks.but(told="wrong")]
    assert len({t.fingerprint(20) for t in [tasks, *others]}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shot": -1}, "shot: expected an int of at least 0"),
        ({"queries": 0}, "queries: expected an int of at least 1"),
        ({"queries": (3, 2)}, "or a range"),
        ({"shot": True}, "shot: expected"),
        ({"max_length": 0}, "max_length: expected a positive int"),
        ({"shot": 3}, "described by words has no support pairs, got shot=3: set shot to 0"),
        ({"description": "word"}, "did you mean 'words'"),
        ({"told": "shuffle"}, "did you mean 'shuffled'"),
        ({"order": "epochs", "queries": (1, 2)}, "one number for tasks in epochs"),
    ],
)
def test_specs_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TranslationSpec(**options)


def test_impossible_tasks(text: EncodedCorpus) -> None:
    with pytest.raises(DataError, match=r"en-nl has 48 lines of at most 64 subwords in split 'train', a task needs 50"):
        make(text, TranslationSpec(2, 48, "both"))
    with pytest.raises(DataError, match=r"split 'train', a task needs 70: lower shot"):
        make(text, TranslationSpec(70, 2, "both"), "test")
    with pytest.raises(DataError, match="has no split 'dev'"):
        make(text, split="dev")
    with pytest.raises(SettingsError, match="unknown language 'xx'"):
        make(text, pairs="en-xx")
    with pytest.raises(SettingsError, match="no pair of languages"):
        make(text, pairs=[])
    with pytest.raises(DataError, match="indices count from 0"):
        make(text).task(-1)
    with pytest.raises(DataError, match="cannot stack zero tasks"):
        make(text).batch([])
    two = replace(text.corpus, languages={"en": "English", "fr": "French"}, held_out_pairs=(), held_out_languages={})
    with pytest.raises(SettingsError, match="no other pair that a wrong description of en-fr could tell"):
        make(EncodedCorpus(two, text.subwords), TranslationSpec(queries=2, told="wrong"))


@pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not say where Multi30k is")
def test_multi30k() -> None:
    from metacortex.data.text.multi30k import load_multi30k

    corpus = load_multi30k(train=3000)
    text = EncodedCorpus(corpus, learn_subwords(corpus, 2000))
    spec = TranslationSpec(10, 32, "both", max_length=200)
    tasks = TranslationTasks(text, spec, seed=0, split="test", pairs=corpus.pairs("held_out"))
    assert tasks.fingerprint(200) == PIN_MULTI30K
    parts = tasks.covering(("de", "cs"), size=100)
    assert sum(len(t.info["query"]) for t in parts) == 1000
    assert "German" in parts[0].info["description"]
    train = TranslationTasks(text, TranslationSpec(0, 64, order="epochs"), seed=0, split="train")
    times = []
    for index in range(200):
        start = time.process_time()
        task = train.task(index)
        times.append(time.process_time() - start)
    assert np.median(times) < 0.001
    assert 50 < len(task.query.targets) <= 64
