"""Captions of photographs in two languages, as tasks to translate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Sampler

from metacortex.data.downloads.fetch import fetch
from metacortex.data.locations import searching_first
from metacortex.data.text.corpus import Corpus
from metacortex.data.text.encoded import EncodedCorpus
from metacortex.data.text.multi30k import load_multi30k
from metacortex.data.text.subwords import Subwords
from metacortex.errors import DataError, SettingsError
from metacortex.task import stack_tasks
from metacortex.tasks.topics import Topics
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import TranslationSpec
from metacortex.tasks.vocabulary import learn_subwords
from torchmeta.utils.data.dataset import MetaDataset, one_split
from torchmeta.utils.data.sampler import SeededInt
from torchmeta.utils.sentences import Vocabulary, sentence_batch, sentence_task

__all__ = ["EpochSampler", "MultimodalNMT"]

_LONGEST = 60
"""Subwords of a training sentence; longer ones are left out."""
_UNCUT = 1000
_KEPT = 4
_PREPARED: dict[tuple[Any, ...], tuple[Topics | None, Subwords]] = {}


class MultimodalNMT(MetaDataset):
    """Tasks of Multi30k: each is one topic cluster of the captions of a pair of languages.

    A task is told in words ("translate English into French, about dog, snow, running") and by ``0 .. shots`` example
    pairs of its topic, ``shots`` of them where it is not for training. Topics are clusters of the training captions in
    English (or the first of the two languages). The vocabulary is learned from the training captions of both languages.

    Tasks go through all pairs of sentences of the split, at most ``test_shots`` of like length and one topic in each,
    in random order, and come to none again before they have seen all. ``len(dataset)`` is an epoch: for training the
    next ``tasks_per_epoch`` of them, or the whole split where that is less; otherwise the whole split. The loader gives
    one epoch and ends, the next one goes on from there; with ``shuffle=False`` every epoch is the first one. Tasks are
    a function of ``seed`` (or of the loader's) alone.

    Args:
        root: folder in which ``multi30k`` is looked for first; it may be empty or missing where metacortex knows the
            data already.
        source_language: en, de, fr or cs.
        target_language: another of them.
        meta_train: choose the split for meta-training, as when nothing is said.
        meta_val: or that for validation.
        meta_test: or that for testing; its example pairs come from the training set.
        meta_split: or one by name.
        dataset_transform: applied to each task, a dictionary (see `torchmeta.utils.sentences`).
        download: where the data are missing, fetch them into metacortex's own folder.
        shots: most example pairs of a task, 0 for none.
        test_shots: most sentences of a task that are to be translated.
        tasks_per_epoch: most tasks of an epoch of meta-training; ``None`` for every pair of sentences once.
        topics: how many; 1 for tasks about anything.
        vocabulary: number of subwords.
        test: the test set: ``"test_2016_flickr"``, ``"test_2017_flickr"``, ``"test_2017_mscoco"`` or
            ``"test_2018_flickr"``.
        features: file with features of the images, see `metacortex.data.text.multi30k.read_features`; inputs then have
            ``"image"`` as well, which the learners of metacortex do not read.
        seed: of the tasks.

    Attributes:
        vocabulary: a `torchmeta.utils.sentences.Vocabulary`.

    Raises:
        DataError: if the data are missing, saying what to put where; for several splits.
        SettingsError: for an unknown language or test set, or sizes that cannot be.
    """

    def __init__(
        self,
        root: str | Path,
        source_language: str = "en",
        target_language: str = "fr",
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
        *,
        shots: int = 5,
        test_shots: int = 32,
        tasks_per_epoch: int | None = 600,
        topics: int = 20,
        vocabulary: int = 4000,
        test: str = "test_2016_flickr",
        features: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        split = one_split(meta_train, meta_val, meta_test, meta_split, needed=False) or "train"
        super().__init__(meta_split=split, dataset_transform=dataset_transform)
        if topics < 1 or test_shots < 1 or shots < 0:
            raise SettingsError(
                f"topics and test_shots must be at least 1 and shots at least 0, got {topics}, {test_shots}, {shots}"
            )
        if tasks_per_epoch is not None and tasks_per_epoch < 1:
            raise SettingsError(f"tasks_per_epoch must be at least 1, or None for all, got {tasks_per_epoch}")
        self.root, self.pair = Path(root).expanduser(), (source_language, target_language)
        self.shots, self.test_shots, self._seed = shots, test_shots, seed
        corpus = self._load(test, features, download)
        self._topics, subwords = _prepared(corpus, topics, vocabulary)
        self._text = EncodedCorpus(corpus, subwords)
        self.vocabulary = Vocabulary(subwords, dict(corpus.languages), self.pair)
        self._tasks: dict[int, TranslationTasks] = {}
        whole = self.tasks().epoch
        self._epoch = whole if split != "train" or tasks_per_epoch is None else min(whole, tasks_per_epoch)

    def tasks(self, seed: int | None = None) -> TranslationTasks:
        """The tasks of a seed, this data set's own when not given, in metacortex's form."""
        chosen = self._seed if seed is None else seed
        if chosen not in self._tasks:
            training = self.meta_split == "train"
            spec = TranslationSpec(
                (0, self.shots) if training and self.shots else self.shots,
                self.test_shots,
                "both" if self.shots else "words",
                wording="training" if training else "plain",
                max_length=_LONGEST if training else _UNCUT,
                order="epochs",
            )
            split = str(self.meta_split)
            self._tasks[chosen] = TranslationTasks(
                self._text, spec, seed=chosen, split=split, pairs=[self.pair], topics=self._topics
            )
        return self._tasks[chosen]

    def __len__(self) -> int:
        """Tasks of an epoch."""
        return self._epoch

    def __getitem__(self, index: int) -> OrderedDict[str, Any]:
        """A task; those of the next epochs have the numbers from ``len(self)`` on.

        Raises:
            DataError: for a negative number.
        """
        seed = index.seed if isinstance(index, SeededInt) else None
        task = sentence_batch(self.tasks(seed).task(int(index)), self.vocabulary)
        return task if self.dataset_transform is None else self.dataset_transform(task)

    def __iter__(self) -> Iterator[Any]:
        """One epoch."""
        return (self[index] for index in range(len(self)))

    # --- what loaders ask for ---

    def collate(self, tasks: Sequence[Any]) -> OrderedDict[str, Any]:
        """A batch of tasks, see `torchmeta.utils.sentences`."""
        return sentence_batch(stack_tasks([sentence_task(task) for task in tasks]), tasks[0]["vocabulary"])

    def sampler(self, shuffle: bool, num_tasks: int | None, seed: int | None) -> EpochSampler:
        """Which tasks a loader takes."""
        return EpochSampler(self, shuffle, num_tasks, seed)

    # --- how ---

    def _load(self, test: str, features: str | Path | None, download: bool) -> Corpus:
        with searching_first(self.root):
            try:
                return load_multi30k(languages=self.pair, held_out=(), test=test, features=features)
            except DataError:
                if not download:
                    raise
            fetch("multi30k")
            return load_multi30k(languages=self.pair, held_out=(), test=test, features=features)


class EpochSampler(Sampler):
    """One epoch of tasks after the other.

    Args:
        data_source: a data set whose tasks go through its examples in epochs.
        shuffle: go on with the next epoch each time; else give the first again.
        num_tasks: tasks of an epoch; all of them when not given.
        seed: of the tasks; the data set's own when not given.

    Raises:
        SettingsError: for fewer than one task.
    """

    def __init__(
        self, data_source: MultimodalNMT, shuffle: bool = True, num_tasks: int | None = None, seed: int | None = None
    ) -> None:
        if num_tasks is not None and num_tasks < 1:
            raise SettingsError(f"num_tasks must be at least 1, got {num_tasks}")
        self.shuffle, self.seed = shuffle, seed
        self.num_tasks = len(data_source) if num_tasks is None else num_tasks
        self.start = 0

    def __len__(self) -> int:
        return self.num_tasks

    def __iter__(self) -> Iterator[int]:
        first = self.start
        if self.shuffle:
            self.start += self.num_tasks
        for index in range(first, first + self.num_tasks):
            yield index if self.seed is None else SeededInt(index, self.seed)


def _prepared(corpus: Corpus, topics: int, vocabulary: int) -> tuple[Topics | None, Subwords]:
    """Topics and subwords of a corpus; those of the last few are kept, as a program makes several data sets of one."""
    key = (corpus.fingerprint, topics, vocabulary)
    if key not in _PREPARED:
        found = Topics.find(corpus, topics) if topics > 1 else None
        while len(_PREPARED) >= _KEPT:
            _PREPARED.pop(next(iter(_PREPARED)))
        _PREPARED[key] = found, learn_subwords(corpus, vocabulary, topics=found)
    return _PREPARED[key]
