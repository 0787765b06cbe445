"""Pictures of a run that translates: the space of its descriptions, what its weights depend on, its attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metacortex.data.text.languages import FAMILIES
from metacortex.errors import MetacortexError
from metacortex.reports.figures import figure_png
from metacortex.reports.page import Picture, Section, Table
from metacortex.translation.evaluate import FALSIFICATIONS
from metacortex.translation.interpretation import FACTORS, language_space, weight_dependence

if TYPE_CHECKING:
    from metacortex.runs.folder import RunFolder
    from metacortex.translation.interpretation import LanguageSpace, WeightDependence
    from metacortex.translation.translator import TextRun

__all__ = ["draw_dependence", "draw_space", "scored_sets", "translation_sections"]

_COLOURS = ("#3b6fb6", "#d4483b", "#e2a33c", "#2f9e63", "#bbbbbb")


def translation_sections(text: TextRun) -> list[Section]:
    """What a report says of a run that translates, besides its scores; nothing where there is nothing to say."""
    return [section for section in (_attention(text), _space(text), _dependence(text)) if section is not None]


def scored_sets(folder: RunFolder) -> Section | None:
    """What `metacortex.translation.evaluate` has kept in a run folder, a row for each time."""
    rows = []
    for path in sorted((folder.path / "eval").glob("translation-*.json")):
        content = folder.read_json(path) or {}
        scores = [content.get(key) for key in ("bleu", "chrf", *(f"bleu_{name}" for name in FALSIFICATIONS))]
        texts = ["-" if value is None else f"{value:.2f}" for value in scores]
        exact = content.get("exact")
        rows.append(
            [*texts[:2], "-" if exact is None else f"{100 * exact:.1f} %", *texts[2:], content.get("protocol", "")]
        )
    if not rows:
        return None
    columns = ["BLEU", "chrF", "exact", *(name.replace("_", " ") for name in FALSIFICATIONS), "protocol"]
    note = "BLEU with a false description should fall, with an unseen wording it should not."
    return Section("Results", tables=[Table(columns, rows)], note=note)


def draw_space(space: LanguageSpace) -> bytes:
    """Languages at the first two principal components of their codes, kin in one colour, as PNG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    axes = figure.subplots()
    families = sorted({FAMILIES.get(code, "") for code in space.languages} - {""})
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for code, point in zip(space.languages, space.points, strict=True):
        family = FAMILIES.get(code, "")
        colour = colours[families.index(family) % 10] if family else "#888888"
        axes.plot(*point, "o", color=colour, markersize=4)
        axes.annotate(space.languages[code], point, fontsize=7, color=colour, xytext=(3, 3), textcoords="offset points")
    for number, family in enumerate(families):
        axes.plot([], [], "o", color=colours[number % 10], label=family, markersize=4)
    if families:
        axes.legend(fontsize=7)
    axes.set_title(f"{100 * space.explained:.0f} % of the variance of the codes", fontsize=9)
    axes.grid(alpha=0.3)
    return figure_png(figure)


def draw_dependence(found: WeightDependence) -> bytes:
    """For each generated weight the shares of its variance, as stacked bars, as PNG."""
    from matplotlib.figure import Figure

    names = list(found.shares)
    figure = Figure(figsize=(7.2, 1.2 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    begin = [0.0] * len(names)
    for kind, colour in zip((*FACTORS, "together"), _COLOURS, strict=True):
        shares = [found.shares[name][kind] for name in names]
        axes.barh(names, shares, left=begin, color=colour, label=kind)
        begin = [b + share for b, share in zip(begin, shares, strict=True)]
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the variance with the task")
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure_png(figure)


def _space(text: TextRun) -> Section | None:
    try:
        space = language_space(text)
    except MetacortexError:
        return None  # another learner, or one that reads no words
    found, related, chance = space.near_kin
    note = "The points of languages that training never showed say where their names alone put them."
    kin = (
        f"The nearest neighbour of {found} of {related} languages that have kin here is kin; by chance it would be "
        f"{chance * related:.1f}."
        if related
        else ""
    )
    picture = Picture(draw_space(space), "Codes of the languages: as a source and as a target, put together.")
    return Section("The space of descriptions", text=kin, pictures=[picture], note=note)


def _dependence(text: TextRun) -> Section | None:
    try:
        found = weight_dependence(text, pairs=5 if text.learns_from_examples and text.settings.shot else 0)
    except MetacortexError:
        return None
    levels = ", ".join(f"{count} levels of {factor}" for factor, count in found.levels.items())
    rows = [
        [name, f"{100 * found.change[name]:.1f} %", *(f"{100 * shares[kind]:.0f} %" for kind in (*FACTORS, "together"))]
        for name, shares in found.shares.items()
    ]
    columns = ["weight", "change", *FACTORS, "together"]
    picture = Picture(draw_dependence(found), "What explains how each generated weight differs between tasks.")
    return Section(
        "What generated weights depend on",
        text=f"Analysis of variance over all combinations of {levels}.",
        pictures=[picture],
        tables=[Table(columns, rows)],
        note="Change: root mean square of the difference between tasks, relative to the shared weight.",
    )


def _attention(text: TextRun) -> Section | None:
    """Where the network looked in a test sentence of the first pair that has one."""
    from metacortex.translation.picture import attention_png

    corpus = text.domain.corpus
    if "test" not in corpus.splits:
        return None
    part = corpus.split("test")
    pairs = [pair for pair in corpus.pairs("trained") if len(part.rows(*pair))]
    if not pairs:
        return None
    pair = next((pair for pair in pairs if pair[0] == "en"), pairs[0])
    lines = [part.text[pair[0]][row] for row in part.rows(*pair)]
    line = next((line for line in lines if 4 <= len(line.split()) <= 12), lines[0])
    translator = text.adapted(pair, text.words_of(pair), ())
    (found,) = translator.translate([line], beam=1, attention=True)
    if found.attention is None or not found.attention.target:
        return None
    names = text.names(pair)
    caption = f"{names[0]} (columns) into {names[1]} (rows): where the network looked while it wrote."
    return Section(
        "Attention of a translation",
        text=f"{line} → {found.texts[0]}",
        pictures=[Picture(attention_png(found.attention), caption)],
    )
