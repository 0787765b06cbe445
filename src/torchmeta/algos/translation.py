"""The same face for learners that translate: ``MetaLSTM(input_size=100, hidden_size=200).train(batch)``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from metacortex.engine.gradient import evaluate_tasks
from metacortex.errors import DataError, LearnerError, SettingsError
from metacortex.evaluation.translation import bleu_tokenizer, score_translations
from metacortex.learners.base import Learner
from metacortex.learners.entry import LearnerSpec
from metacortex.learners.model.generation import WeightGenerator
from metacortex.learners.translation import Translating
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.nn.seq2seq import EOS, UNK, Seq2SeqSettings, Seq2SeqShape
from metacortex.task import Examples, Task, stack_tasks, unstack_tasks
from metacortex.tasks.descriptions import describe, wordings
from metacortex.translation.translator import Translator, encode_pairs
from torchmeta.algos.algorithm import Algorithm
from torchmeta.algos.files import read_file, write_file
from torchmeta.algos.tasks import is_batch
from torchmeta.modules.module import MetaModule
from torchmeta.utils.sentences import Vocabulary, sentence_task

__all__ = ["TranslationAlgorithm"]

_SMALLEST = UNK + 2
_CALM = 1 / 16
_SETTINGS: dict[str, dict[str, Any]] = {
    "meta_lstm": {"layers": "all", "pooling": "last", "word_dropout": 0.0, "apart": False}
}
"""Those with which the results of old programs were measured, where the learner's own defaults are others."""


class TranslationAlgorithm(Algorithm, MetaModule):
    """A learner of translation with its outer loop.

    Embeddings, and whatever else is as large as the vocabulary, are `torch.nn.parameter.UninitializedParameter` until
    the first batch, which says how large that is.

    Args:
        input_size: length of the embeddings.
        hidden_size: units of each LSTM.
        num_layers: layers of each LSTM.
        meta_lr: learning rate of the outer loop. What writes weights learns with a 16th of it, so that it keeps calm at
            a rate as high as this; where it is not balanced by itself, with one n-th for a code of n numbers.
        optimizer: of the outer loop: Adam when not given; or a class or function called at the first batch with groups
            of parameters and ``lr=meta_lr``.
        lr: learning rate of the inner loop, for learners that have one.
        dropout: share of embeddings and features set to zero while training, 0-1 with 1 excluded.
        clip_norm: largest norm of the gradient, 0 for no limit.
        decay_after: steps after which the learning rate falls as one over the root of their number, 0 for a constant
            rate.
        workers: threads that share the tasks of a batch.
        options: the learner's settings, e.g. ``generate="scaling"``, ``rank=4``.

    Attributes:
        vocabulary: that of the first batch; ``None`` before it.
        steps: batches trained on so far.

    Raises:
        SettingsError: for an unknown setting or a size that cannot be.
    """

    def __init__(
        self,
        input_size: int = 100,
        hidden_size: int = 200,
        num_layers: int = 1,
        meta_lr: float = 4e-3,
        optimizer: Any = None,
        *,
        lr: float | None = None,
        dropout: float = 0.2,
        clip_norm: float = 1.0,
        decay_after: int = 400,
        workers: int = 1,
        **options: Any,
    ) -> None:
        if isinstance(optimizer, torch.optim.Optimizer):
            raise SettingsError("the parameters are made here: give a class such as torch.optim.SGD, not an optimizer")
        super().__init__(None, lr, meta_lr, optimizer, workers=workers, **options)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout, self.clip_norm = dropout, clip_norm
        self.decay_after, self.steps = decay_after, 0
        self.vocabulary: Vocabulary | None = None
        self.learner = self._outline()

    # --- what programs call ---

    def forward(self, batch: Any) -> list[Tensor]:
        """Logits ``[N, L', V]`` of the test sentences of each task of a batch, each word given those before it."""
        task = self.task_of(batch)
        learner, found = self._ready(task), []
        with fused_kernels():
            for one in unstack_tasks(task):
                state = learner.adapt(one.support, description=one.description)
                found.append(learner.predict(state, {**one.query.inputs, "target": one.query.targets}))
        return found

    def test(self, batch: Any, tasks: int | None = None, beam: int = 1) -> dict[str, Any]:  # type: ignore[override]
        """Read each task, translate its test sentences; nothing is learned.

        Args:
            batch: one batch, or a loader, which is gone through once.
            tasks: how many tasks to take at most; all when not given.
            beam: hypotheses kept; 1 is greedy.

        Returns:
            ``bleu`` and ``chrf`` over all sentences, with ``bleu_signature`` and ``chrf_signature``; ``exact``;
            ``loss`` and the metrics of teacher forcing, means over the tasks; ``sources``, ``translations`` and
            ``references`` as text; ``tasks``, how many there were.

        Raises:
            MissingExtraError: if sacrebleu is not installed.
        """
        texts: list[tuple[str, str, str]] = []
        scores: dict[str, list[float]] = {}
        count = 0
        for one in self._tasks_of(batch, tasks):
            outcome = evaluate_tasks(self._ready(one), one)
            for name, value in {"loss": outcome.loss, **outcome.metrics}.items():
                scores.setdefault(name, []).append(float(value.mean()))
            texts += self._translated(unstack_tasks(one)[0], beam)
            count += 1
        vocabulary = self._known_vocabulary()
        sources, translations, references = (list(side) for side in zip(*texts, strict=True))
        result = score_translations(translations, references, tokenizer=bleu_tokenizer(vocabulary.pair[1]))
        means = {name: sum(values) / len(values) for name, values in scores.items()}
        said = {"sources": sources, "translations": translations, "references": references}
        return {**means, **result.to_json(), **said, "tasks": count}

    def adapt(  # type: ignore[override]
        self, inputs: Any = (), targets: Tensor | None = None, *, words: str | None = None
    ) -> Translator:
        """Read one task.

        Args:
            inputs: example pairs of sentences as text ``[(source, target), ...]``; or as numbers, ``[inputs, targets]``
                of one task, e.g. of ``dataset[0]["train"]``; or the inputs alone.
            targets: those that belong to them.
            words: the description of the task; "translate English into French" (its languages) when not given.

        Returns:
            A `metacortex.translation.translator.Translator`: ``adapt(pairs).translate(lines, beam=5)``.

        Raises:
            LearnerError: before the first batch.
        """
        vocabulary, learner = self._known_vocabulary(), self.learner
        assert isinstance(learner, Translating)
        support = self._support(inputs, targets)
        description = self._description(words)
        like = next(learner.parameters())
        task = Task(support, support, description).to(like.device)
        with evaluating(learner), torch.no_grad(), fused_kernels():
            state = learner.adapt(task.support, description=task.description)
        return Translator(learner, state, vocabulary.subwords, vocabulary.pair)

    def translate(
        self,
        lines: str | Sequence[str],
        pairs: Sequence[tuple[str, str]] = (),
        *,
        words: str | None = None,
        beam: int = 1,
    ) -> list[str]:
        """Translate sentences given as text.

        Args:
            lines: the sentences.
            pairs: example pairs of the task.
            words: the description of the task, see `adapt`.
            beam: hypotheses kept; 1 is greedy.

        Raises:
            LearnerError: before the first batch.
        """
        found = self.adapt(pairs, words=words).translate([lines] if isinstance(lines, str) else lines, beam=beam)
        return [one.texts[0] for one in found]

    def save(self, path: str | Path) -> None:
        """Write weights, the vocabulary and the state of the optimizer to one file (safetensors).

        Raises:
            LearnerError: before the first batch.
        """
        facts = {"vocabulary": self._known_vocabulary().to_json(), "steps": self.steps}
        assert self.learner is not None
        write_file(Path(path), self.entry.learner.name, facts, self.learner, self.optimizer)

    def load(self, path: str | Path) -> TranslationAlgorithm:
        """Read what `save` wrote, for the same sizes.

        Returns:
            This object.

        Raises:
            RunError: for a file of another algorithm, or of other sizes.
            DataError: for one of another vocabulary, where this object has one already.
        """
        contents = read_file(Path(path), self.entry.learner.name)
        self._materialise(Vocabulary.from_json(contents.facts.get("vocabulary", {})))
        assert self.learner is not None
        contents.restore(self.learner, self.optimizer)
        self.steps = int(contents.facts.get("steps", 0))
        return self

    def task_of(self, batch: Any) -> Task:
        """What a learner sees of a batch of sentences; the first one brings the vocabulary.

        Raises:
            DataError: for a batch of something else, or of another vocabulary than the first one.
        """
        task = sentence_task(batch)
        if not isinstance(batch, Task):
            vocabulary = batch.get("vocabulary")
            if not isinstance(vocabulary, Vocabulary):
                raise DataError("this batch has no 'vocabulary': take batches of MultimodalNMT")
            self._materialise(vocabulary)
        like = self._like
        return task if like is None else task.to(like.device)

    @property
    def model(self) -> nn.Module:
        """The encoder-decoder that is trained."""
        return self._learner().body

    def own_meta_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:  # type: ignore[override]
        """Those of the whole learner."""
        return self.named_parameters()

    # --- how ---

    @property
    def _by_outputs(self) -> bool:
        return False

    def _learner(self) -> Translating:
        assert isinstance(self.learner, Translating)
        return self.learner

    def _ready(self, task: Task) -> Learner:
        self._known_vocabulary()
        return self._learner()

    def _train_batch(self, batch: Any) -> dict[str, float]:
        task = self.task_of(batch)
        learner = self._ready(task)
        self._set_rates()
        said = self._step(learner, task)
        self.steps += 1
        return said

    def _set_rates(self) -> None:
        """The learning rates of the next step."""
        assert self.optimizer is not None
        late = self.decay_after and self.steps >= self.decay_after
        factor = (self.decay_after / (self.steps + 1)) ** 0.5 if late else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.meta_lr * group["share"]

    def _known_vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise LearnerError(f"{type(self).__name__} has seen no batch yet, so it knows no words: train it first")
        return self.vocabulary

    def _made(self, vocabulary: int, languages: int) -> Learner:
        settings = Seq2SeqSettings(
            vocabulary, languages, self.input_size, self.hidden_size, self.num_layers, self.dropout
        )
        defaults = {f.name: getattr(self.entry.settings(), f.name) for f in fields(self.entry.settings)}
        spec = LearnerSpec(0, kind="translation")
        return self.entry.build(
            Seq2SeqShape((), settings),
            spec,
            {**defaults, **_SETTINGS.get(self.entry.learner.name, {}), **self._options},
        )

    def _outline(self) -> Learner:
        """The learner with its weights, save those whose size follows from the vocabulary or the languages."""
        made = self._made(_SMALLEST, 2)
        with torch.device("meta"):
            other = dict(self._made(_SMALLEST + 1, 3).named_parameters())
        for name, value in list(made.named_parameters()):
            if value.shape != other[name].shape:
                place, _, leaf = name.rpartition(".")
                setattr(made.get_submodule(place), leaf, UninitializedParameter(requires_grad=value.requires_grad))
        return made

    def _materialise(self, vocabulary: Vocabulary) -> None:
        """Give the parameters their sizes, and keep those that are there."""
        if self.vocabulary is not None:
            if vocabulary.subwords != self.vocabulary.subwords or vocabulary.pair != self.vocabulary.pair:
                raise DataError(
                    f"this batch is of another vocabulary, or of other languages, than those "
                    f"{type(self).__name__} knows ({'-'.join(self.vocabulary.pair)}): make its data set with the same "
                    "languages, topics and vocabulary"
                )
            return
        assert self.learner is not None
        made = self._made(len(vocabulary), len(vocabulary.languages))
        new = dict(made.named_parameters())
        for name, value in list(self.learner.named_parameters()):
            if isinstance(value, UninitializedParameter):
                value.materialize(new[name].shape)  # type: ignore[arg-type]
                with torch.no_grad():
                    value.copy_(new[name])
            place, _, leaf = name.rpartition(".")
            setattr(made.get_submodule(place), leaf, value)
        made.train(self.learner.training)
        self.learner, self.vocabulary = made, vocabulary
        make = self._given_optimizer or torch.optim.Adam
        self.optimizer = make(_groups(made), lr=self.meta_lr)

    def _tasks_of(self, batch: Any, tasks: int | None) -> Iterable[Task]:
        """Single tasks, each still with a leading axis."""
        left = tasks
        for one in [batch] if is_batch(batch) else batch:
            for task in unstack_tasks(self.task_of(one)):
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield stack_tasks([task])

    def _translated(self, task: Task, beam: int) -> list[tuple[str, str, str]]:
        """Source, translation and reference of each test sentence as text."""
        learner, decode = self._learner(), self._known_vocabulary().decode
        with evaluating(learner), torch.no_grad(), fused_kernels():
            state = learner.adapt(task.support, description=task.description)
        source, length = task.query.inputs["source"], task.query.inputs["source_length"]
        rows = length > 0
        source = source[rows][:, : max(1, int(length.max()))]
        written = learner.translate(state, source, length[rows], beam=beam).tokens[:, 0]
        targets = task.query.targets[rows]
        return [(decode(s), decode(w), decode(t)) for s, w, t in zip(source, written, targets, strict=True)]

    def _support(self, inputs: Any, targets: Tensor | None) -> Examples:
        pair = inputs if targets is None else [inputs, targets]
        if len(pair) == 2 and isinstance(pair[1], Tensor):
            read = sentence_task({"train": pair, "test": pair, "description": None}).support
            if read.targets.dim() != 2:
                raise LearnerError("adapt reads one task, got a batch of them: pass one of them")
            return read
        return encode_pairs(self._known_vocabulary().subwords, [(str(a), str(b)) for a, b in pair])

    def _description(self, words: str | None) -> dict[str, Tensor]:
        vocabulary = self._known_vocabulary()
        source, target = (vocabulary.languages[code] for code in vocabulary.pair)
        text = describe(wordings("plain")[0], source, target) if words is None else words
        tokens = [*vocabulary.encode(text), EOS]
        numbers = [list(vocabulary.languages).index(code) for code in vocabulary.pair]
        return {
            "tokens": torch.tensor(tokens),
            "length": torch.tensor(len(tokens)),
            "source_language": torch.tensor(numbers[0]),
            "target_language": torch.tensor(numbers[1]),
        }


def _groups(learner: Learner) -> list[dict[str, Any]]:
    """The parameters of a learner, and the share of the learning rate that they learn with."""
    found: list[dict[str, Any]] = []
    for module in learner.modules():
        if isinstance(module, WeightGenerator):
            share = _CALM if module.balanced else 1 / module.linear.in_features
            found.append({"params": list(module.parameters()), "share": share})
    slow = {id(p) for group in found for p in group["params"]}
    others = [p for p in learner.parameters() if p.requires_grad and id(p) not in slow]
    return [{"params": others, "share": 1.0}, *found]
