"""Captions as tasks, the learners that translate under the names of torchmeta, and the example of the documentation."""

from __future__ import annotations

import copy
import itertools
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parameter import UninitializedParameter

import torchmeta.algos as algos
from metacortex.errors import DataError, LearnerError, RunError, SettingsError
from metacortex.learners.registry import learner_entry, learner_names
from torchmeta.algos.translation import TranslationAlgorithm
from torchmeta.datasets import MultimodalNMT
from torchmeta.modules import MetaLSTM, MetaModule
from torchmeta.utils.data import BatchMetaDataLoader, MetaDataLoader
from torchmeta.utils.sentences import Vocabulary

pytest.importorskip("sentencepiece", reason="needs the extra 'translate'")

EXAMPLE = Path(__file__).parents[2] / "examples" / "torchmeta" / "translation.py"
NAMES = sorted(
    learner_entry(name).learner.__name__ for name in learner_names() if learner_entry(name).kinds == ("translation",)
)
SUBJECTS = {"a dog": "un chien", "a cat": "un chat", "two men": "deux hommes", "a girl": "une fille"}
VERBS = {"runs": "court", "sleeps": "dort", "plays": "joue", "sits": "assis"}
PLACES = {"in the snow": "dans la neige", "on grass": "sur herbe", "near water": "près de eau", "at home": "chez soi"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/multi30k`` with 48 lines to train on, 8 for validation and 8 to test on."""
    path = tmp_path_factory.mktemp("captions")
    folder = path / "data" / "multi30k" / "task1" / "raw"
    folder.mkdir(parents=True)
    parts = list(itertools.product(SUBJECTS, VERBS, PLACES))
    english = [" ".join(words) for words in parts]
    french = [f"{SUBJECTS[s]} {VERBS[v]} {PLACES[p]}" for s, v, p in parts]
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(0)).tolist()
    for name, chosen in (("train", order[:48]), ("val", order[48:56]), ("test_2016_flickr", order[56:])):
        for code, lines in (("en", english), ("fr", french)):
            (folder / f"{name}.{code}").write_text("".join(lines[i] + "\n" for i in chosen), encoding="utf-8")
    return path / "data"


def captions(place: Path, **options: Any) -> MultimodalNMT:
    return MultimodalNMT(place, **{"shots": 2, "test_shots": 4, "topics": 3, "vocabulary": 400, **options})


def small(kind: str = "MetaLSTM", **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(algos, kind)(8, 12, **options)


@pytest.fixture(scope="module")
def batch(place: Path) -> Any:
    return next(iter(BatchMetaDataLoader(captions(place), batch_size=2)))


def test_a_task_is_one_topic_told_in_words_and_pairs(place: Path) -> None:
    dataset = captions(place)
    assert dataset.meta_split == "train"
    topics = set()
    for task in dataset:
        (inputs, targets), (queries, truths) = task["train"], task["test"]
        assert 0 <= len(targets) == len(inputs["source"]) <= 2
        assert 1 <= len(truths) == len(queries["source_length"]) <= 4
        words = dataset.vocabulary.decode(task["description"]["tokens"])
        assert words == task["info"]["description"]
        assert all(part in words for part in ("English", "French", task["info"]["topic"]))
        topics.add(task["info"]["topic"])
        about = {int(dataset._topics.labels["train"][row]) for row in task["info"]["query"] + task["info"]["support"]}
        assert len(about) == 1
        assert not set(task["info"]["query"]) & set(task["info"]["support"])
    assert len(topics) > 1


def test_an_epoch_is_every_sentence_once(place: Path) -> None:
    dataset = captions(place)
    loader = BatchMetaDataLoader(dataset, batch_size=4, num_workers=4)
    assert (len(loader), loader.num_workers) == (-(-len(dataset) // 4), 0)
    epochs = [[row for made in loader for info in made["info"] for row in info["query"]] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(epochs[0]) == len(set(epochs[0])) > 24
    assert epochs[0] != epochs[1]
    still = BatchMetaDataLoader(dataset, batch_size=4, shuffle=False)
    assert [[i["query"] for i in b["info"]] for b in still] == [[i["query"] for i in b["info"]] for b in still]


def test_a_shorter_epoch_goes_on_where_the_last_one_ended(place: Path) -> None:
    whole = len(captions(place))
    loader = BatchMetaDataLoader(captions(place, tasks_per_epoch=whole - 4), batch_size=2)
    epochs = [[row for made in loader for info in made["info"] for row in info["query"]] for _ in range(2)]
    assert len(loader) == -(-(whole - 4) // 2)
    first = [row for task in captions(place) for row in task["info"]["query"]]
    assert epochs[0] == first[: len(epochs[0])]
    assert set(first) - set(epochs[0]) <= set(epochs[1])
    assert len(captions(place, tasks_per_epoch=None)) == len(captions(place, tasks_per_epoch=10**6)) == whole
    assert len(captions(place, meta_test=True, tasks_per_epoch=1)) > 1
    with pytest.raises(SettingsError, match="tasks_per_epoch must be at least 1"):
        captions(place, tasks_per_epoch=0)


def test_the_test_split_has_every_sentence_with_pairs_of_the_training_set(place: Path) -> None:
    dataset = captions(place, meta_test=True)
    tasks = list(dataset)
    assert sorted(row for task in tasks for row in task["info"]["query"]) == list(range(8))
    assert all(len(task["train"][1]) == 2 for task in tasks)
    lines = (place / "multi30k" / "task1" / "raw" / "test_2016_flickr.fr").read_text(encoding="utf-8").splitlines()
    for task in tasks:
        read = [dataset.vocabulary.decode(row) for row in task["test"][1]]
        assert read == [lines[row] for row in task["info"]["query"]]


def test_batches_follow_from_a_seed_alone(place: Path) -> None:
    def queries(**options: Any) -> list[Any]:
        made = BatchMetaDataLoader(captions(place), batch_size=2, num_tasks=6, **options)
        return [[info["query"] for info in one["info"]] for one in made]

    assert queries(seed=1) == queries(seed=1) != queries(seed=2)
    assert queries() == queries(seed=0)
    assert len(queries(seed=1)) == 3


def test_batches_are_padded_and_carry_the_vocabulary(batch: Any, place: Path) -> None:
    inputs, targets = batch["test"]
    assert inputs["source"].shape[:2] == inputs["source_length"].shape == targets.shape[:2]
    assert inputs["source"].dtype == targets.dtype == torch.int64
    assert isinstance(batch["vocabulary"], Vocabulary)
    assert batch["vocabulary"].languages == {"en": "English", "fr": "French"}
    assert len(batch["vocabulary"]) <= 400
    tasks = next(iter(MetaDataLoader(captions(place), batch_size=2)))
    assert [sorted(task) for task in tasks] == [["description", "info", "test", "train", "vocabulary"]] * 2


def test_spawned_workers_give_the_same_batches(place: Path) -> None:
    dataset = captions(place)
    loader = BatchMetaDataLoader(
        dataset, batch_size=8, num_workers=1, worker_init_fn=_nothing, multiprocessing_context="spawn", shuffle=False
    )
    assert loader.num_workers == 1
    for made, known in zip(loader, BatchMetaDataLoader(dataset, batch_size=8, shuffle=False), strict=True):
        assert torch.equal(made["test"][1], known["test"][1])
        assert made["vocabulary"].subwords == known["vocabulary"].subwords


def _nothing(worker: int) -> None:
    """Asks for workers."""


def test_errors_of_the_data_set(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="metacortex data fetch multi30k"):
        MultimodalNMT(tmp_path)
    with pytest.raises(SettingsError, match="language of multi30k 'xx'"):
        captions(place, target_language="xx")
    with pytest.raises(SettingsError, match="pair of two languages"):
        captions(place, target_language="en")
    with pytest.raises(DataError, match="several splits"):
        captions(place, meta_train=True, meta_test=True)
    with pytest.raises(SettingsError, match="test_shots must be at least 1"):
        captions(place, test_shots=0)
    task = next(iter(captions(place)))
    del task["vocabulary"]
    with pytest.raises(DataError, match="has no 'vocabulary'"):
        small().train(task)
    with pytest.raises(DataError, match="has no 'description'"):
        small().train({"train": [torch.zeros(1), torch.zeros(1)], "test": [torch.zeros(1), torch.zeros(1)]})
    with pytest.raises(DataError, match="has no 'train'"):
        small().train([torch.zeros(1), torch.zeros(1)])


def test_embeddings_appear_with_the_first_batch(batch: Any) -> None:
    model = small()
    assert isinstance(model, MetaModule)
    waiting = {name for name, value in model.named_parameters() if isinstance(value, UninitializedParameter)}
    assert {"learner.body.embedding.weight", "learner.body.output_bias", "learner.reader.embedding.weight"} <= waiting
    weight, known = model.learner.body.embedding.weight, model.learner.body.encoder.weight_ih_l0
    copied = copy.deepcopy(model)
    assert isinstance(copied.learner.body.embedding.weight, UninitializedParameter)
    before = known.detach().clone()
    with pytest.raises(LearnerError, match="seen no batch yet"):
        model.translate("a dog")
    model.train(batch)
    assert model.learner.body.embedding.weight is weight
    assert weight.shape == (len(batch["vocabulary"]), 8)
    assert model.learner.body.encoder.weight_ih_l0 is known
    assert not torch.equal(before, known)
    assert not any(isinstance(value, UninitializedParameter) for value in model.parameters())


def test_train_keeps_the_meaning_of_pytorch(batch: Any) -> None:
    model = small()
    assert model.train() is model
    assert model.train(False) is model
    assert not model.training
    said = model.train(batch)
    assert model.training
    assert {"loss", "nll", "token_accuracy"} == set(said)
    assert all(isinstance(value, float) for value in said.values())


@pytest.mark.parametrize("name", NAMES)
def test_learners_train_test_adapt_save_and_load(name: str, batch: Any, tmp_path: Path) -> None:
    assert name in algos.__all__
    model = small(name, dropout=0.0)
    assert isinstance(model, TranslationAlgorithm)
    first = model.train(batch)["loss"]
    for _ in range(5):
        last = model.train(batch)["loss"]
    assert last < first
    result = model.test(batch)
    assert result["tasks"] == 2
    assert len(result["translations"]) == len(result["sources"]) == len(result["references"])
    assert 0 <= result["bleu"] <= 100
    assert "|version:" in result["bleu_signature"]
    model.save(tmp_path / "saved")
    loaded = small(name, dropout=0.0).load(tmp_path / "saved")
    assert loaded.test(batch) == result
    pairs = [("a dog runs on grass", "un chien court sur herbe")]
    assert loaded.translate(["a cat sleeps"], pairs) == model.translate(["a cat sleeps"], pairs)
    again = loaded.train(batch)["loss"]
    assert again == pytest.approx(model.train(batch)["loss"], rel=1e-5)
    with pytest.raises(RunError):
        small(next(other for other in NAMES if other != name)).load(tmp_path / "saved")


def test_learning_rates_fall_and_generated_weights_learn_slower(batch: Any) -> None:
    options = {"meta_lr": 1.0, "decay_after": 2, "optimizer": torch.optim.SGD, "clip_norm": 1e-9}
    model = small("ContextualParameters", language_size=4, **options)
    rates = []
    for _ in range(8):
        model.train(batch)
        rates.append([group["lr"] for group in model.optimizer.param_groups])
    assert [first for first, *_ in rates] == pytest.approx([1, 1, *((2 / step) ** 0.5 for step in range(3, 9))])
    assert all(others and slow == pytest.approx(first / 4) for first, *others in rates for slow in others)
    held = [p for group in model.optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    assert len(held) == len({id(p) for p in held})
    balanced = small(**options)
    balanced.train(batch)
    assert [group["lr"] for group in balanced.optimizer.param_groups] == [1.0, 1 / 16, 1 / 16]


def test_it_learns(place: Path) -> None:
    torch.manual_seed(0)
    model = MetaLSTM(32, 48, meta_lr=3e-2, dropout=0.0, smoothing=0.0, rank=2, code=8)
    loader = BatchMetaDataLoader(captions(place, test_shots=8))
    still = BatchMetaDataLoader(captions(place, test_shots=16), shuffle=False)
    model.train(next(iter(loader)))
    before = model.test(still)
    for _ in range(11):
        for one in loader:
            model.train(one)
    # of the sentences trained on, so that a short run is enough
    after = model.test(still)
    assert before["token_accuracy"] < 0.2
    assert after["token_accuracy"] > 0.5
    assert after["chrf"] > before["chrf"] + 10
    assert model.test(loader, tasks=1)["tasks"] == 1


def test_adapt_reads_text_and_numbers_alike(place: Path, batch: Any) -> None:
    model = small()
    for _ in range(3):
        model.train(batch)
    task = captions(place, meta_test=True)[0]
    vocabulary = task["vocabulary"]
    pairs = [
        (vocabulary.decode(source[:length]), vocabulary.decode(target))
        for source, length, target in zip(
            task["train"][0]["source"], task["train"][0]["source_length"], task["train"][1], strict=True
        )
    ]
    words = task["info"]["description"]
    numbers, text = model.adapt(*task["train"], words=words), model.adapt(pairs, words=words)
    assert model.adapt(task["train"], words=words).pair == ("en", "fr")
    for name, weight in numbers.state["weights"].items():
        assert torch.allclose(weight, text.state["weights"][name], atol=1e-6)
    with pytest.raises(LearnerError, match="one task"):
        model.adapt(batch["train"])
    logits = model(batch)
    assert logits[0].shape == (*batch["test"][1].shape[1:], len(vocabulary))


def test_refuses_other_vocabularies_and_optimizers(place: Path, batch: Any) -> None:
    model = small()
    model.train(batch)
    with pytest.raises(DataError, match="another vocabulary"):
        model.train(next(iter(BatchMetaDataLoader(captions(place, vocabulary=320)))))
    with pytest.raises(SettingsError, match="give a class"):
        small(optimizer=torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))
    with pytest.raises(SettingsError, match="setting of MetaLSTM"):
        small(rnk=3)
    slow = small(optimizer=torch.optim.SGD, meta_lr=0.0)
    slow.train(batch)
    before = [p.detach().clone() for p in slow.parameters()]
    slow.train(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, slow.parameters(), strict=True))
    assert pickle.loads(pickle.dumps(batch["vocabulary"])).pair == ("en", "fr")


def test_program_of_the_documentation(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, on few captions, with small sizes."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for line in (
        "from torchmeta.datasets import MultimodalNMT\n",
        "from torchmeta.modules import MetaLSTM\n",
        "from torchmeta.utils.data import BatchMetaDataLoader\n",
        "class MyMetaLSTM(MetaLSTM):\n",
        'dataset = MultimodalNMT("data", source_language="en", target_language="fr")\n',
        "dataloader = BatchMetaDataLoader(dataset, batch_size=4, num_workers=4)\n",
        "metalstm = MyMetaLSTM(input_size=100, hidden_size=200)\n",
        "for epoch in range(10):\n    for batch in dataloader:\n        metalstm.train(batch)\n",
    ):
        assert line in text
    (tmp_path / "data").symlink_to(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MultimodalNMT, "__init__", few(MultimodalNMT.__init__))
    # what is built of the sizes is smaller here
    monkeypatch.setattr(TranslationAlgorithm, "__init__", narrow(TranslationAlgorithm.__init__))
    with torch.random.fork_rng(devices=[]):
        left = runpy.run_path(str(EXAMPLE))
    out = capsys.readouterr().out
    assert "epoch 10: loss" in out
    assert "8 sentences, nrefs:1" in out
    assert len(left["result"]["translations"]) == 8
    assert len(left["metalstm"].losses) == 10 * len(left["dataloader"])


def few(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, test_shots=4, topics=3, vocabulary=400, **kwargs)

    return init


def narrow(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, input_size: int, hidden_size: int) -> None:
        assert (input_size, hidden_size) == (100, 200)
        original(self, 8, 12)

    return init
