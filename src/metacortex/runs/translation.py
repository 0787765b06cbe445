"""Translation tasks drawn from a corpus, and the subwords of a run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metacortex.data.text.corpus import Corpus
from metacortex.data.text.encoded import EncodedCorpus
from metacortex.data.text.sources import load_corpus
from metacortex.data.text.subwords import Subwords
from metacortex.errors import DataError
from metacortex.learners.entry import Kind
from metacortex.settings import RunSettings, TextSettings
from metacortex.tasks.topics import Topics
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import TranslationSpec
from metacortex.tasks.vocabulary import learn_subwords

if TYPE_CHECKING:
    from metacortex.tasks.source import TaskSource

__all__ = ["SUBWORDS_FILE", "TranslationDomain", "load_text"]

SUBWORDS_FILE = "subwords.model"
"""In the run folder: the sentencepiece model that the run was trained with."""

_USUAL_VOCABULARY, _VOCABULARY = 6000, {"phrasebook": 2000}
"""Subwords where the settings leave their number open: phrases repeat themselves more than sentences do."""


def load_text(settings: TextSettings) -> Corpus:
    """Load the corpus that the settings name, with its options."""
    options: dict[str, Any] = {}
    if settings.held_out:
        options["held_out"] = "" if settings.held_out == "none" else settings.held_out
    if settings.sentences:
        options["train"] = settings.sentences
    if settings.features:
        options["features"] = settings.features
    corpus = load_corpus(settings.name, **options)
    codes = [code.strip() for code in settings.languages.split(",") if code.strip()]
    return corpus.among(codes) if codes else corpus


class TranslationDomain:
    """The `metacortex.runs.domain.Domain` of a corpus.

    Args:
        settings: name the corpus, its subwords and the tasks.
        run: folder of a run whose subwords are used; learned from the corpus where there are none yet.
    """

    kind: Kind = "translation"
    input_shape: tuple[int, ...] = ()

    def __init__(self, settings: TextSettings, run: Path | None = None) -> None:
        self.settings = settings
        self.corpus = load_text(settings)
        self.name, self.protocol = self.corpus.name, self.corpus.protocol
        kept = None if run is None else run / SUBWORDS_FILE
        if kept is not None and kept.is_file():
            self.subwords = Subwords.open(kept)
        else:
            size = settings.vocabulary or _VOCABULARY.get(settings.name, _USUAL_VOCABULARY)
            self.subwords = learn_subwords(self.corpus, size, topics=self.topics, only_topics=self._shown(settings))
        self.text = EncodedCorpus(self.corpus, self.subwords)
        self.fingerprint = f"{self.corpus.fingerprint[:32]}{self.subwords.fingerprint[:32]}"

    @cached_property
    def topics(self) -> Topics | None:
        """The topics that tasks keep to, where the settings ask for them: the corpus's own kinds, if it has some."""
        if not self.settings.topics:
            return None
        if all(part.groups for part in self.corpus.splits.values()):
            return Topics.of_groups(self.corpus)
        return Topics.find(self.corpus, self.settings.topics)

    @property
    def splits(self) -> Mapping[str, int]:
        """Split -> number of lines."""
        return {name: len(part) for name, part in self.corpus.splits.items()}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the text comes from."""
        return dict(self.corpus.provenance)

    def keep(self, run: Path) -> None:
        """Put the subwords into a run folder."""
        if not (run / SUBWORDS_FILE).is_file():
            self.subwords.save(run / SUBWORDS_FILE)

    def learner_shape(self, settings: RunSettings, learner: Any) -> dict[str, Any]:
        """Sizes of the vocabulary and of features of images, and number of languages, as options of the backbone."""
        features = self.corpus.split("train").features
        sizes = {"vocabulary": len(self.subwords), "languages": len(self.corpus.languages)}
        return {
            "kind": self.kind,
            "input_shape": [],
            "way": 0,
            "train_classes": 0,
            "backbone_options": {**sizes, "image": 0 if features is None else features.shape[1]},
        }

    def training_tasks(self, settings: RunSettings, learner: Any) -> TaskSource:
        """Tasks that go through all sentences of all pairs, epoch after epoch."""
        data = settings.data
        assert isinstance(data, TextSettings)
        spec = TranslationSpec(
            _support(data), data.queries, data.description, max_length=data.max_length, order="epochs"
        )
        return self._tasks("train", data, spec, seed=settings.training.seed)

    def tasks(self, split: str, data: TextSettings) -> TranslationTasks:
        """Fixed tasks of a split: those pairs that the settings name, else those trained on."""
        spec = TranslationSpec(_support(data, most=True), data.queries, data.description, max_length=data.max_length)
        return self._tasks(split, data, spec, seed=data.seed)

    def details(self, split: str, data: TextSettings) -> dict[str, Any]:
        """Corpus, split and description."""
        return {
            "data": self.name,
            "data_protocol": self.protocol,
            "split": split,
            "pairs": data.pairs or "trained",
            "description": data.description,
            "shot": _support(data, most=True),
            "queries": data.queries,
            "seed": data.seed,
        }

    def _tasks(self, split: str, data: TextSettings, spec: TranslationSpec, *, seed: int) -> TranslationTasks:
        pairs = data.pairs or None
        if pairs in ("held_out", "new_val", "new_test", "trained"):
            pairs = self.corpus.pairs(pairs)  # type: ignore[assignment, arg-type]
            if not pairs:
                raise DataError(f"corpus '{self.name}' has no pairs of the kind '{data.pairs}'")
        return TranslationTasks(
            self.text,
            spec,
            seed=seed,
            split=split,
            pairs=pairs,
            topics=self.topics,
            only_topics=self._shown(data),
        )

    def _shown(self, data: TextSettings) -> range | None:
        """The topics that training tasks show; the last ones are held out."""
        topics = self.topics
        return None if topics is None else range(len(topics) - min(data.held_out_topics, len(topics) - 1))


def _support(data: TextSettings, *, most: bool = False) -> int | tuple[int, int]:
    """Support pairs of a task. Training shows any number up to that of the tests, so that fewer serve as well."""
    if data.description in ("words", "none") or not data.shot:
        return 0
    least = 1 if data.description == "pairs" else 0
    return data.shot if most else (min(least, data.shot), data.shot)
