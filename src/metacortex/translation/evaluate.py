"""Scores over whole test sets, and whether the network heeds its description."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from metacortex.data.text.corpus import Pair, parse_pairs, show_pair
from metacortex.errors import SettingsError
from metacortex.evaluation.translation import TranslationScores, bleu_tokenizer, score_translations
from metacortex.nn.norm import fused_kernels
from metacortex.settings import TextSettings
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import TranslationSpec
from metacortex.translation.translator import TextRun, until_end

__all__ = ["FALSIFICATIONS", "PairScores", "TranslationReport", "evaluate_translation"]

FALSIFICATIONS: Mapping[str, dict[str, str]] = {
    "shuffled_description": {"told": "shuffled"},
    "wrong_description": {"told": "wrong"},
    "empty_description": {"told": "empty"},
    "unseen_wording": {"wording": "unseen"},
}
"""What else each test set is translated with. A learner that ignores its description scores the same with the first
three as with the truth; one that understands it scores about the same with the last."""

REPORT_VERSION = 1


@dataclass(frozen=True)
class PairScores:
    """Scores of one directed pair of languages.

    Attributes:
        pair: from, to.
        scores: with the true description in the plainest wording.
        falsified: BLEU under each of `FALSIFICATIONS` that could be tried.
        translations: of every sentence, in the order of the set.
        references: likewise.
    """

    pair: Pair
    scores: TranslationScores
    falsified: Mapping[str, float] = field(default_factory=dict)
    translations: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class TranslationReport:
    """Scores of a run on a split.

    Attributes:
        pairs: a row for each directed pair.
        protocol: what was translated how.
        learner: name of the learner.
        path: where it was saved, if it was.
    """

    pairs: tuple[PairScores, ...]
    protocol: str
    learner: str
    path: Path | None = None

    def mean(self, what: str) -> float | None:
        """Mean over the pairs of ``"bleu"``, ``"chrf"``, ``"exact"`` or a falsification; ``None`` if untried."""
        found = [
            pair.falsified.get(what) if what in FALSIFICATIONS else getattr(pair.scores, what) for pair in self.pairs
        ]
        return None if any(value is None for value in found) else sum(v for v in found if v is not None) / len(found)

    def to_json(self, *, translations: bool = True) -> dict[str, Any]:
        """The documented object: means over the pairs, then each pair.

        Args:
            translations: with every translation, for paired comparisons.
        """
        rows = {}
        for row in self.pairs:
            rows[show_pair(row.pair)] = {
                **row.scores.to_json(),
                **{f"bleu_{name}": value for name, value in row.falsified.items()},
            }
            if translations:
                rows[show_pair(row.pair)] |= {"translations": row.translations, "references": row.references}
        return {
            "version": REPORT_VERSION,
            "bleu": self.mean("bleu"),
            "chrf": self.mean("chrf"),
            "exact": self.mean("exact"),
            **{f"bleu_{name}": self.mean(name) for name in FALSIFICATIONS},
            "protocol": self.protocol,
            "learner": self.learner,
            "pairs": rows,
        }


def evaluate_translation(
    run: Path | str,
    *,
    split: str = "test",
    pairs: str = "",
    shot: int | None = None,
    beam: int = 1,
    sentences: int = 0,
    falsify: bool = True,
    checkpoint: str | None = None,
    save: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> TranslationReport:
    """Translate a whole test set in every pair and score it, with true and with false descriptions.

    Args:
        run: the run folder.
        split: which set, e.g. ``"test"``, ``"test_2017_flickr"``.
        pairs: directed pairs like ``"cs-fr,fr-cs"``, or ``"held_out"``, ``"new_test"``; those of the run when empty.
        shot: support pairs; as the run was trained when not given.
        beam: hypotheses kept; 1 is greedy.
        sentences: only the first so many of each pair; 0 for all.
        falsify: also translate with `FALSIFICATIONS`.
        checkpoint: ``"best"`` or ``"last"``.
        save: keep the report in the run folder.
        progress: called with (sets done, sets).

    Raises:
        RunError: if the run cannot be used.
        DataError: if the split has no line of a pair.
        SettingsError: for an unknown pair.
    """
    text = TextRun(run, checkpoint=checkpoint)
    settings = text.settings if shot is None else replace(text.settings, shot=shot)
    chosen = pairs or settings.pairs or "trained"
    corpus = text.domain.corpus
    kinds = ("trained", "held_out", "new_val", "new_test", "all")
    found = corpus.pairs(chosen) if chosen in kinds else parse_pairs(chosen, corpus.languages)  # type: ignore[arg-type]
    if not found:
        raise SettingsError(f"corpus '{corpus.name}' has no pairs of the kind '{chosen}'")
    tasks = TranslationTasks(text.domain.text, _spec(settings), seed=settings.seed, split=split, pairs=found)
    ways = {"": {}, **FALSIFICATIONS} if falsify else {"": {}}
    rows = []
    for number, pair in enumerate(found):
        made: dict[str, tuple[list[str], list[str]]] = {}
        for step, (name, change) in enumerate(ways.items()):
            if progress is not None:
                progress(number * len(ways) + step, len(found) * len(ways))
            try:
                changed = tasks.but(**change) if change else tasks
            except SettingsError:
                continue  # there is no other pair to take a false description from
            made[name] = _translated(text, changed, pair, beam, sentences)
        rows.append(_scored(pair, made))
    protocol = f"{corpus.name}: {corpus.protocol}; {tasks.protocol}; beam {beam}" + (
        f"; the first {sentences} sentences" if sentences else ""
    )
    report = TranslationReport(tuple(rows), protocol, text.learner.name)
    return _saved(text, report, f"translation-{split}-{chosen}-{settings.shot}shot-beam{beam}") if save else report


def _spec(settings: TextSettings) -> TranslationSpec:
    return TranslationSpec(
        settings.shot, settings.queries, settings.description, wording="plain", max_length=settings.max_length
    )


def _translated(
    text: TextRun, tasks: TranslationTasks, pair: Pair, beam: int, sentences: int
) -> tuple[list[str], list[str]]:
    """Translations and references, in the order of the set."""
    parts = tasks.covering(pair, limit=sentences)
    with torch.no_grad(), fused_kernels():
        state = text.learner.adapt(parts[0].support, description=parts[0].description)
    found: list[tuple[int, str, str]] = []
    for task in parts:
        inputs = task.query.inputs
        written = text.learner.translate(state, inputs["source"], inputs["source_length"], beam=beam)
        texts = [text.domain.subwords.decode(until_end(row)) for row in written.tokens[:, 0].tolist()]
        references = tasks.sentences(task.info)[1]
        found += zip(task.info["query"], texts, references, strict=True)
    found.sort()
    return [translation for _, translation, _ in found], [reference for _, _, reference in found]


def _scored(pair: Pair, made: Mapping[str, tuple[list[str], list[str]]]) -> PairScores:
    tokenizer = bleu_tokenizer(pair[1])
    scores = {name: score_translations(*both, tokenizer=tokenizer) for name, both in made.items()}
    falsified = {name: score.bleu for name, score in scores.items() if name}
    return PairScores(pair, scores[""], falsified, *(tuple(side) for side in made[""]))


def _saved(text: TextRun, report: TranslationReport, name: str) -> TranslationReport:
    folder = text.loaded.folder
    path = folder.eval_path(re.sub(r"[^A-Za-z0-9._-]+", "_", name))
    folder.write_json(path, json.loads(json.dumps(report.to_json())))
    return replace(report, path=path)
