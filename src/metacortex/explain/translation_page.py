"""Reasons for translations as a page."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from metacortex.explain.translation import TranslationExplanation
from metacortex.reports.figures import figure_png, plain
from metacortex.reports.page import Page, Picture, Section, Table

__all__ = ["draw_influence", "translation_page"]


def translation_page(title: str, lead: str, explanations: Sequence[TranslationExplanation]) -> Page:
    """A page with a section for each sentence."""
    return Page(title, lead, [_section(found) for found in explanations])


def _section(found: TranslationExplanation) -> Section:
    least = int(found.probabilities.argmin())
    text = (
        f"Translation: {found.translation} Least sure of “{found.written[least]}”, "
        f"{100 * float(found.probabilities[least]):.0f} %."
    )
    if found.rival:
        text += f" What came second: {found.rival}"
    pictures = [Picture(draw_influence(found.influence, found), _INFLUENCE)]
    if found.attention is not None:
        pictures.append(Picture(draw_influence(found.attention, found), _ATTENTION))
    return Section(found.source, text, _tables(found), pictures, note=_NOTE)


def _tables(found: TranslationExplanation) -> list[Table]:
    adds = found.influence.sum(0)
    rows = [[piece, f"{float(a):+.2f}"] for piece, a in zip(found.read, adds, strict=True)]
    tables = [Table(["read", "adds"], rows, "What each subword of the sentence adds to the whole translation.")]
    if found.words:
        rows = [[w, f"{float(a):+.2f}"] for w, a in zip(found.words, found.word_influence, strict=True)]
        tables.append(Table(["told", "adds"], rows, "What each word of the description adds."))
    if found.pairs:
        order = found.pair_influence.argsort(descending=True).tolist()
        rows = [[*found.pairs[i], f"{float(found.pair_influence[i]):+.2f}"] for i in order]
        tables.append(Table(["example", "its translation", "adds"], rows, "What each example pair adds."))
    if found.changes:
        rows = [[name, f"{100 * change:.2f} %"] for name, change in found.changes.items()]
        tables.append(Table(["weight", "moved"], rows, "What adapting changed, relative to the size of each weight."))
    return tables


_INFLUENCE = (
    "What each subword that was read (columns) adds to the log-probability of each one written (rows): blue speaks for "
    "it, red against it."
)
_ATTENTION = "Where the network looked (columns) while it wrote each subword (rows)."
_NOTE = "What something adds: log-probability of the translation with it, minus that when it is left out."


def draw_influence(values: Tensor, found: TranslationExplanation) -> bytes:
    """``[L', L]`` figures as a picture: subwords read from left to right, written ones from top to bottom (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 0.45 * len(found.read), 1.2 + 0.35 * len(found.written)), layout="constrained")
    axes = figure.subplots()
    limit = float(values.abs().max()) or 1.0
    axes.imshow(values.numpy(), cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(found.read)), [plain(piece) for piece in found.read], rotation=60, ha="left")
    axes.set_yticks(range(len(found.written)), [plain(piece) for piece in found.written])
    axes.xaxis.tick_top()
    return figure_png(figure)
