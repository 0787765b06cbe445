"""How much example pairs help: scores of trained runs against the number of pairs that each was shown.

All runs are shown the same pairs and translate the same sentences. A learner does with the pairs what it does: MetaLSTM
reads them and writes weights, Meta-MT updates its weights; what they make is also fine-tuned, as is a learner that does
nothing with pairs. *From scratch* is the network of the first run with fresh weights, trained on the pairs alone, with
more updates and at a higher rate, as it has everything to learn.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metacortex.data.text.corpus import Pair, show_pair
from metacortex.errors import RunError, SettingsError
from metacortex.evaluation.translation import (
    BleuComparison,
    TranslationScores,
    bleu_tokenizer,
    paired_bootstrap,
    score_translations,
)
from metacortex.runs.build import build_learner
from metacortex.runs.files import write_file
from metacortex.tasks.translation import TranslationTasks
from metacortex.tasks.translation_spec import Description, TranslationSpec
from metacortex.translation.evaluate import chosen_pairs
from metacortex.translation.translator import TUNE_STEPS, TextRun

__all__ = ["SHOTS", "Curve", "CurvePoint", "FewShotCurves", "draw_curves", "few_shot_curves", "write_curves"]

SHOTS = (0, 1, 5, 10, 50, 200)
"""Numbers of example pairs of the usual curve."""

CURVES_VERSION = 1

SCRATCH_STEPS, SCRATCH_LR = 400, 5e-3
"""Updates on the examples, and their learning rate, of a network with fresh weights."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cell:
    """One thing to learn: a pair of languages, maybe within a topic, with examples and what is asked."""

    pair: Pair
    topic: int
    examples: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def name(self) -> str:
        """E.g. ``"cs-fr"``, ``"cs-fr topic 3"``."""
        return show_pair(self.pair) + (f" topic {self.topic}" if self.topic >= 0 else "")


@dataclass(frozen=True)
class CurvePoint:
    """Scores with one number of example pairs, averaged over what was learned.

    Attributes:
        shot: example pairs.
        bleu: BLEU, 0 to 100.
        chrf: chrF, 0 to 100.
        exact: share of translations that are their reference, 0 to 1.
        cells: scores of each pair (and topic).
        difference: BLEU against the first curve on the same sentences, paired bootstrap; ``None`` for the first.
        translations: of each cell.
    """

    shot: int
    bleu: float
    chrf: float
    exact: float
    cells: dict[str, TranslationScores]
    difference: BleuComparison | None
    translations: dict[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """The documented object, without the translations."""
        d = self.difference
        return {
            "shot": self.shot,
            "bleu": self.bleu,
            "chrf": self.chrf,
            "exact": self.exact,
            "difference": None if d is None else d.difference.mean,
            "difference_ci95": None if d is None else [d.difference.low, d.difference.high],
            "cells": {name: scores.to_json() for name, scores in self.cells.items()},
        }


@dataclass(frozen=True)
class Curve:
    """Scores of one run against the number of example pairs."""

    label: str
    learner: str
    run: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class FewShotCurves:
    """Curves of several runs on the same examples and sentences.

    Attributes:
        curves: one per run, the first is what the others are compared with.
        protocol: what was learned and asked, how.
    """

    curves: tuple[Curve, ...]
    protocol: str

    def to_json(self) -> dict[str, Any]:
        """The documented object."""
        rows = [
            {"label": c.label, "learner": c.learner, "run": c.run, "points": [p.to_json() for p in c.points]}
            for c in self.curves
        ]
        return {"version": CURVES_VERSION, "protocol": self.protocol, "curves": rows}


def few_shot_curves(
    runs: Sequence[Path | str],
    *,
    shots: Sequence[int] = SHOTS,
    pairs: str = "",
    split: str = "test",
    description: Description = "both",
    topics: Sequence[int] = (),
    sentences: int = 100,
    most: int = 8,
    beam: int = 1,
    tune_steps: int = TUNE_STEPS,
    tune_lr: float = 1e-3,
    tuned: bool = True,
    scratch: bool = True,
    device: str = "auto",
    progress: Progress | None = None,
) -> FewShotCurves:
    """Teach runs new pairs of languages with more and more examples, and score their translations.

    Args:
        runs: run folders of learners of translation, the first with the corpus that is drawn from.
        shots: numbers of example pairs; those of a larger number begin with those of a smaller one.
        pairs: ``"held_out"``, ``"new_test"`` … or pairs like ``"cs-fr"``; held-out pairs when empty.
        split: of the sentences; examples are training lines.
        description: ``"both"``: pairs are also named in words where both languages are known; ``"pairs"``: never.
        topics: numbers of topics of the first run; each is learned on its own.
        sentences: of each pair (and topic) that are translated, the first ones; 0 for all.
        most: pairs at most, evenly chosen; 0 for all.
        beam: hypotheses kept; 1 is greedy.
        tune_steps: updates of all weights on the examples, of learners that do nothing with examples themselves.
        tune_lr: their learning rate.
        tuned: with another curve for each run that reads examples or learns from them in its own way, of what it
            makes of them and the updates after that.
        scratch: with a curve of the first run's network trained on the examples alone, `SCRATCH_STEPS` updates.
        device: where to compute, see `metacortex.engine.devices.resolve_device`.
        progress: called with (translated sets, sets).

    Raises:
        RunError: if a run cannot be used, or was trained on a pair that is new to the first one.
        SettingsError: for no run, no or negative shots, or pairs or topics that do not exist.
        DataError: if there are too few examples or sentences.
    """
    if not runs or not shots or min(shots) < 0:
        raise SettingsError(f"curves need runs and numbers of examples from 0, got {len(runs)} runs and {list(shots)}")
    if description not in ("both", "pairs"):
        raise SettingsError(f"description must be 'both' or 'pairs' where examples are counted, got '{description}'")
    shots = sorted(set(shots))
    texts = [TextRun(run, device=device) for run in runs]
    cells = _cells(texts[0], pairs or "held_out", split, topics, max(shots), sentences, most)
    _check_new([cell.pair for cell in cells], texts)
    entrants = _entrants(texts, (tune_steps, tune_lr), tuned=tuned, scratch=scratch)
    total, done = len(entrants) * len(shots), 0
    curves: list[Curve] = []
    for label, text, updates in entrants:
        points = []
        for shot in shots:
            if progress is not None:
                progress(done, total)
            made = {cell.name: _translated(text, cell, shot, description, beam, updates) for cell in cells}
            base = curves[0].points[len(points)] if curves else None
            points.append(_point(shot, cells, made, base))
            done += 1
        curves.append(Curve(label, text.learner.name, str(text.loaded.folder.path), tuple(points)))
    names = ", ".join(cell.name for cell in cells)
    protocol = (
        f"{texts[0].domain.name}: {texts[0].domain.protocol}; {names}; split {split}, "
        f"{sum(len(cell.sources) for cell in cells)} sentences; described by {description}; beam {beam}; fine-tuned: "
        f"{tune_steps} updates, rate {tune_lr:g}"
        + (f"; from scratch: {SCRATCH_STEPS} updates, rate {SCRATCH_LR:g}" if scratch else "")
    )
    return FewShotCurves(tuple(curves), protocol)


def write_curves(curves: FewShotCurves, folder: Path | str, name: str = "few-shot") -> list[Path]:
    """Write ``NAME.json``, ``NAME.png`` and ``NAME.svg``.

    Raises:
        RunError: if they cannot be written.
    """
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / f"{name}.json", json.dumps(curves.to_json(), indent=1, allow_nan=False))
        for suffix in ("png", "svg"):
            write_file(out / f"{name}.{suffix}", draw_curves(curves, suffix))
    except OSError as error:
        raise RunError(f"cannot write the curves into {out}: {error.strerror or error}") from error
    return [out / f"{name}.{suffix}" for suffix in ("json", "png", "svg")]


def draw_curves(curves: FewShotCurves, suffix: str = "png") -> bytes:
    """BLEU and exact matches against the number of examples, as ``"png"`` or ``"svg"``."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    shots = [point.shot for point in curves.curves[0].points]
    for number, curve in enumerate(curves.curves):
        for panel, values in zip(
            panels, ([p.bleu for p in curve.points], [100 * p.exact for p in curve.points]), strict=True
        ):
            panel.plot(range(len(shots)), values, "o-", label=curve.label, color=colours[number % 10], markersize=4)
    for panel, what in zip(panels, ("BLEU", "exact matches in %"), strict=True):
        # Numbers of examples stand at even distances, as 0 has no place on a logarithmic axis.
        panel.set_xticks(range(len(shots)), [str(shot) for shot in shots])
        panel.set(xlabel="example pairs", ylabel=what, ylim=(0, None))
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    buffer = io.BytesIO()
    canvas = FigureCanvasAgg(figure) if suffix == "png" else FigureCanvasSVG(figure)
    getattr(canvas, f"print_{suffix}")(buffer)
    return buffer.getvalue()


def _cells(
    text: TextRun, pairs: str, split: str, topics: Sequence[int], shot: int, sentences: int, most: int
) -> list[Cell]:
    corpus, found = text.domain.corpus, chosen_pairs(text.domain.corpus, pairs, most, split)
    known = text.domain.topics
    if topics and known is None:
        raise SettingsError("the first run was trained without topics: set data.topics when training it")
    spec = TranslationSpec(shot, 1, "both", max_length=text.settings.max_length)
    tasks = TranslationTasks(text.domain.text, spec, seed=text.settings.seed, split=split, pairs=found, topics=known)
    train = corpus.split("train").text
    cells = []
    for pair in found:
        for topic in topics or (-1,):
            parts = tasks.covering(pair, limit=sentences, topic=topic)
            rows = parts[0].info["support"]
            examples = tuple((train[pair[0]][row], train[pair[1]][row]) for row in rows)
            asked = [tasks.sentences(part.info) for part in parts]
            sources, references = (tuple(line for sides in asked for line in sides[side]) for side in (0, 1))
            cells.append(Cell(pair, topic, examples, sources, references))
    return cells


def _translated(
    text: TextRun, cell: Cell, shot: int, description: str, beam: int, updates: tuple[int, float] | None
) -> tuple[str, ...]:
    words = text.words_of(cell.pair) if description == "both" else ""
    options: dict[str, Any] = {} if updates is None else {"steps": updates[0], "lr": updates[1]}
    translator = text.taught(cell.pair, words, cell.examples[:shot], **options)
    return tuple(found.texts[0] for found in translator.translate(cell.sources, beam=beam))


def _point(shot: int, cells: Sequence[Cell], made: dict[str, tuple[str, ...]], base: CurvePoint | None) -> CurvePoint:
    tokenizers = {cell.name: bleu_tokenizer(cell.pair[1]) for cell in cells}
    scores = {
        cell.name: score_translations(made[cell.name], cell.references, tokenizer=tokenizers[cell.name])
        for cell in cells
    }

    def mean(what: str) -> float:
        return sum(getattr(score, what) for score in scores.values()) / len(scores)

    difference = None
    if base is not None:
        sets = {cell.name: (made[cell.name], base.translations[cell.name], cell.references) for cell in cells}
        difference = paired_bootstrap(sets, tokenizers=tokenizers)
    return CurvePoint(shot, mean("bleu"), mean("chrf"), mean("exact"), scores, difference, made)


def _entrants(
    texts: Sequence[TextRun], updates: tuple[int, float], *, tuned: bool, scratch: bool
) -> list[tuple[str, TextRun, tuple[int, float] | None]]:
    """Label, run, and number and rate of the updates on the examples of each curve."""
    found: list[tuple[str, TextRun, tuple[int, float] | None]] = []
    for text in texts:
        same = sum(other.learner.name == text.learner.name for other in texts)
        label = text.learner.name + (f" ({text.loaded.folder.path.name})" if same > 1 else "")
        if not text.learns_from_examples:
            found.append((f"{label}, fine-tuned", text, updates))
            continue
        found.append((label, text, None))
        if tuned:
            found.append((f"{label}, then fine-tuned", text, updates))
    return [*found, ("from scratch", _untrained(texts[0]), (SCRATCH_STEPS, SCRATCH_LR))] if scratch else found


def _check_new(pairs: Sequence[Pair], texts: Sequence[TextRun]) -> None:
    trained = [set(chosen_pairs(text.domain.corpus, text.settings.pairs or "trained")) for text in texts]
    new = set(pairs) - trained[0]
    for other, shown in zip(texts[1:], trained[1:], strict=True):
        known = sorted(new & shown)
        if known:
            raise RunError(
                f"{other.loaded.folder.path} was trained on {', '.join(map(show_pair, known))}, which is new to "
                f"{texts[0].loaded.folder.path}: compare runs that held out the same pairs"
            )


def _untrained(text: TextRun) -> TextRun:
    """A run of one network without tags and with fresh weights, with the subwords and corpus of another run."""
    trained = text.loaded.folder.info()["learner"]
    kept = {key: value for key, value in trained.items() if key not in ("name", "options")}
    learner = build_learner({"name": "multilingual", "options": {"tags": False}, **kept}, seed=1).eval()
    return text.with_learner(learner)
