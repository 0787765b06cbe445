"""Scores over whole test sets, and whether the network heeds its description."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from metacortex.data.text.corpus import PAIR_KINDS, Corpus, Pair, parse_pairs, show_pair
from metacortex.errors import DataError, SettingsError
from metacortex.evaluation.translation import (
    BleuComparison,
    TranslationScores,
    bleu_tokenizer,
    paired_bootstrap,
    score_translations,
)
from metacortex.learners.base import State
from metacortex.nn.norm import fused_kernels
from metacortex.runs.folder import RunFolder
from metacortex.settings import TextSettings
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import Description, TranslationSpec
from metacortex.translation.translator import TextRun, written
from metacortex.tree import tree_leaves

__all__ = [
    "FALSIFICATIONS",
    "MOST_PAIRS",
    "REPORT_VERSION",
    "PairScores",
    "TranslationReport",
    "asked_for",
    "chosen_pairs",
    "compare_translations",
    "evaluate_translation",
    "keep_translation",
]

FALSIFICATIONS: Mapping[str, dict[str, str]] = {
    "shuffled_description": {"told": "shuffled"},
    "wrong_description": {"told": "wrong"},
    "empty_description": {"told": "empty"},
    "unseen_wording": {"wording": "unseen"},
}
"""What else each test set is translated with. A learner that ignores its description scores the same with the first
three as with the truth; one that understands it scores about the same with the last."""

REPORT_VERSION = 1
"""Of the JSON that is kept; a newer one is refused."""

MOST_PAIRS = 16
"""Pairs that are scored unless more are asked for: the phrasebook has hundreds."""


_LONGEST_NAME = 100
"""Characters of the pairs in the name of a report; more are told by a sum."""

_ROWS = 256
"""Hypotheses that are continued at once, of all sentences of a batch together."""


@dataclass(frozen=True)
class _Set:
    """A test set translated by one network."""

    state: State
    translations: list[str]
    references: list[str]


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
        name: of the file that it is kept in.
    """

    pairs: tuple[PairScores, ...]
    protocol: str
    learner: str
    path: Path | None = None
    name: str = ""

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
                "languages": list(row.pair),
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
    description: Description | None = None,
    beam: int = 1,
    sentences: int = 0,
    most: int = MOST_PAIRS,
    falsify: bool = True,
    checkpoint: str | None = None,
    device: str = "auto",
    save: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> TranslationReport:
    """Translate a whole test set in every pair and score it, with true and with false descriptions.

    Args:
        run: the run folder.
        split: which set, e.g. ``"test"``, ``"test_2017_flickr"``.
        pairs: directed pairs like ``"cs-fr,fr-cs"``, or ``"held_out"``, ``"new_test"``; those of the run when empty.
        shot: support pairs; as many as the run was trained with at most when not given.
        description: what is told of each pair of languages: ``"words"``, ``"pairs"``, ``"both"`` or ``"none"``; as
            the run was trained when not given (both, where it was trained on any).
        beam: hypotheses kept; 1 is greedy.
        sentences: only the first so many of each pair; 0 for all.
        most: pairs at most, evenly chosen from all that were asked for; 0 for all.
        falsify: also translate with `FALSIFICATIONS`.
        checkpoint: ``"best"`` or ``"last"``.
        device: where to compute, see `metacortex.engine.devices.resolve_device`.
        save: keep the report in the run folder.
        progress: called with (sets done, sets).

    Raises:
        RunError: if the run cannot be used, or the report not be written.
        DataError: if the split has no line of a pair that was named; of kinds of pairs those without are left out.
        SettingsError: for an unknown pair, or support pairs that the description excludes.
    """
    text = TextRun(run, checkpoint=checkpoint, device=device)
    settings = asked_for(text.settings, shot, description)
    chosen = pairs or settings.pairs or "trained"
    corpus = text.domain.corpus
    found = chosen_pairs(corpus, chosen, most, split)
    tasks = TranslationTasks(text.domain.text, _spec(settings), seed=settings.seed, split=split, pairs=found)
    ways = {"": {}, **FALSIFICATIONS} if falsify else {"": {}}
    rows = []
    for number, pair in enumerate(found):
        made: dict[str, _Set] = {}
        for step, (name, change) in enumerate(ways.items()):
            if progress is not None:
                progress(number * len(ways) + step, len(found) * len(ways))
            try:
                changed = tasks.but(**change) if change else tasks
            except SettingsError:
                continue  # there is no other pair to take a false description from
            made[name] = _translated(text, changed, pair, beam, sentences, list(made.values()))
        rows.append(_scored(pair, made))
    protocol = f"{corpus.name}: {corpus.protocol}; {tasks.protocol}; beam {beam}" + (
        f"; the first {sentences} sentences" if sentences else ""
    )
    some = f"-{len(found)}of" if len(found) < len(chosen_pairs(corpus, chosen, 0, split)) else ""
    some += f"-{sentences}sentences" if sentences else ""
    used = text.loaded.checkpoint["name"]
    some += f"-{used}" if used != "best" else ""
    if len(chosen) > _LONGEST_NAME:
        chosen = f"{len(found)}pairs_{hashlib.sha256(chosen.encode()).hexdigest()[:8]}"
    name = f"translation-{split}-{chosen}{some}-{settings.description}-{settings.shot}shot-beam{beam}"
    report = TranslationReport(tuple(rows), protocol, text.learner.name, name=re.sub(r"[^A-Za-z0-9._-]+", "_", name))
    return keep_translation(text.loaded.folder, report) if save else report


def keep_translation(folder: RunFolder, report: TranslationReport) -> TranslationReport:
    """Write a report of `evaluate_translation` into a run folder, as ``eval/NAME.json``.

    Returns:
        The report with its path.

    Raises:
        RunError: if it cannot be written.
    """
    path = folder.eval_path(report.name)
    folder.write_json(path, json.loads(json.dumps(report.to_json())))
    return replace(report, path=path)


def chosen_pairs(corpus: Corpus, pairs: str, most: int = 0, split: str = "") -> tuple[Pair, ...]:
    """Directed pairs of a corpus by name or kind.

    Args:
        corpus: that has them.
        pairs: a kind of pairs (`metacortex.data.text.corpus.PAIR_KINDS`), or pairs like ``"cs-fr,fr-cs"``.
        most: at most so many, evenly chosen; 0 for all.
        split: leave out those of a kind that have no line there; empty to leave out none.

    Raises:
        DataError: if there is no such split.
        SettingsError: for a language that does not exist, or a kind of which there is no pair.
    """
    if pairs in PAIR_KINDS:
        found = corpus.pairs(pairs)  # type: ignore[arg-type]
        found = tuple(pair for pair in found if not split or len(corpus.split(split).rows(*pair)))
    else:
        found = parse_pairs(pairs, corpus.languages)
    if not found:
        where = f" in split '{split}'" if split else ""
        raise SettingsError(f"corpus '{corpus.name}' has no pairs of the kind '{pairs}'{where}")
    if not 0 < most < len(found):
        return found
    return tuple(found[(2 * i + 1) * len(found) // (2 * most)] for i in range(most))


def compare_translations(
    report: TranslationReport, others: Sequence[TranslationReport], *, resamples: int = 1000
) -> tuple[BleuComparison, tuple[BleuComparison, ...]]:
    """BLEU of a run against that of others on the same sentences, by paired bootstrap.

    Args:
        report: of the run.
        others: each with some of the pairs of `report`, e.g. one-pair runs with one each.
        resamples: of the bootstrap.

    Returns:
        The comparison with all others together, averaged over all their pairs, and with each of them.

    Raises:
        DataError: if they have no pair in common, or it was scored on other sentences.
    """
    each, together, tokenizers = [], {}, {}
    rows = {row.pair: row for row in report.pairs}
    for number, other in enumerate(others):
        sets = {}
        for row in other.pairs:
            if row.pair not in rows:
                continue
            if row.references != rows[row.pair].references:
                raise DataError(
                    f"{show_pair(row.pair)} was scored on other sentences: score both runs on the same ones"
                )
            name = f"{show_pair(row.pair)} {number}"
            sets[name] = (rows[row.pair].translations, row.translations, row.references)
            tokenizers[name] = bleu_tokenizer(row.pair[1])
        if not sets:
            raise DataError("two runs that are compared need a pair of languages that both were scored on")
        each.append(paired_bootstrap(sets, tokenizers=tokenizers, resamples=resamples))
        together |= sets
    whole = each[0] if len(each) == 1 else paired_bootstrap(together, tokenizers=tokenizers, resamples=resamples)
    return whole, tuple(each)


def asked_for(settings: TextSettings, shot: int | None = None, description: Description | None = None) -> TextSettings:
    """The settings of a run's tests, with what was asked for instead.

    Raises:
        SettingsError: for support pairs that the description excludes, or pairs alone of which there are none.
    """
    told = description or ("both" if settings.description == "any" else settings.description)
    if told in ("words", "none"):
        if shot:
            raise SettingsError(
                f"a task described by {told} has no support pairs, got shot={shot}: describe it by pairs or both"
            )
        return replace(settings, description=told, shot=0)
    return replace(settings, description=told, shot=settings.shot if shot is None else shot)


def _spec(settings: TextSettings) -> TranslationSpec:
    # Whole sets are translated, however few lines they have.
    return TranslationSpec(settings.shot, 1, settings.description, wording="plain", max_length=settings.max_length)


def _translated(
    text: TextRun, tasks: TranslationTasks, pair: Pair, beam: int, sentences: int, known: list[_Set]
) -> _Set:
    """Translations and references, in the order of the set.

    Args:
        text: the run.
        tasks: with what is told.
        pair: of languages.
        beam: hypotheses kept.
        sentences: only the first so many; 0 for all.
        known: what was translated before; taken where the description makes no difference to the network.
    """
    parts = tasks.covering(pair, size=max(64, _ROWS // beam), limit=sentences)
    with torch.no_grad(), fused_kernels():
        state = text.learner.adapt(text.placed(parts[0].support), description=text.placed(parts[0].description))
    for other in known:
        if _same(state, other.state):
            return other
    found: list[tuple[int, str, str]] = []
    for task in parts:
        inputs = task.query.inputs
        source, length = inputs["source"], inputs["source_length"]
        made = text.learner.translate(state, source, length, image=inputs.get("image"), beam=beam)
        rows = zip(made.tokens[:, 0].tolist(), length.tolist(), strict=True)
        texts = [text.domain.subwords.decode(written(row, size)) for row, size in rows]
        references = tasks.sentences(task.info)[1]
        found += zip(task.info["query"], texts, references, strict=True)
    found.sort()
    return _Set(state, [translation for _, translation, _ in found], [reference for _, _, reference in found])


def _same(one: State, other: State) -> bool:
    return all(x is y or torch.equal(x, y) for x, y in zip(tree_leaves(one), tree_leaves(other), strict=True))


def _scored(pair: Pair, made: Mapping[str, _Set]) -> PairScores:
    tokenizer = bleu_tokenizer(pair[1])
    scores = {
        name: score_translations(one.translations, one.references, tokenizer=tokenizer) for name, one in made.items()
    }
    falsified = {name: score.bleu for name, score in scores.items() if name}
    return PairScores(pair, scores[""], falsified, tuple(made[""].translations), tuple(made[""].references))
