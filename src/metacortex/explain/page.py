"""Explanations as a page: the query, its answer, and the reasons, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metacortex.explain.explanation import Explanation
from metacortex.reports.figures import figure_png, plain
from metacortex.reports.page import Page, Picture, Section, Table
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.explain.values import ValueExplanation

__all__ = ["adaptation_section", "draw_explanation", "explanation_page", "part_tables"]

_FOR, _AGAINST = "#2f6fb3", "#c0504d"
_SHOWN, _CLASSES = 10, 5
"""Rows of a table."""
_WIDEST = 20
"""Letters of a name above a picture."""


def explanation_page(
    title: str,
    lead: str,
    explanations: Sequence[Explanation],
    support: Examples,
    inputs: Any,
    names: Sequence[str],
    examples: Sequence[str],
    queries: Sequence[str],
    truths: Sequence[int] | None = None,
) -> Page:
    """A page with a section for each query.

    Args:
        title: heading.
        lead: a sentence below it.
        explanations: one per query.
        support: what the learner adapted on.
        inputs: the queries ``[Q, ...]``.
        names: of the classes.
        examples: names of the support examples.
        queries: names of the queries.
        truths: the right classes, where they are known.
    """
    sections = []
    for q, found in enumerate(explanations):
        sure = 100 * float(found.probabilities[found.answer])
        text = f"Answer: {names[found.answer]}, {sure:.0f} %."
        if truths is not None:
            right = truths[q] == found.answer
            text += " That is right." if right else f" It is {names[truths[q]]}."
        if found.runner_up >= 0:
            text += f" Second: {names[found.runner_up]}, {100 * float(found.probabilities[found.runner_up]):.0f} %."
        if found.counter_example >= 0:
            other = names[int(support.targets[found.counter_example])]
            text += f" The nearest example of another class is {examples[found.counter_example]} ({other})."
        if found.novelty is not None and found.novelty[0] > found.novelty[1]:
            far, usual = found.novelty
            text += f" It is further from all classes ({far:.2f}) than their examples are ({usual:.2f})."
        pictures = []
        if isinstance(inputs, Tensor) and inputs.dim() == 4:
            pictures = [Picture(draw_explanation(found, support, inputs[q], names), _CAPTION)]
        sections.append(
            Section(
                queries[q],
                text,
                [
                    _classes(found, names),
                    _examples(found, support, names, examples),
                    *part_tables(found.parts, "the log-odds of the answer"),
                ],
                pictures,
                note=_NOTE,
            )
        )
    return Page(title, lead, [*sections, *adaptation_section(explanations[0])])


_CAPTION = (
    "Left: the query; beside it, where they were asked for, the pixels that spoke for the answer (blue) and against it "
    "(red). Then the support examples that mattered most, with what each adds to the log-probability of the answer; in "
    "colour, where the learner lets it be known, which of their pixels did so through the adaptation."
)
_NOTE = "What an example adds: log-probability of the answer with it, minus that of the learner adapted without it."


def _examples(found: Explanation, support: Examples, names: Sequence[str], examples: Sequence[str]) -> Table:
    order = found.influence.abs().argsort(descending=True).tolist()[:_SHOWN]
    rows = [
        [
            examples[i],
            names[int(support.targets[i])],
            f"{float(found.influence[i]):+.3f}",
            _spoke(float(found.influence[i])),
            f"{-float(found.similarity[i]):.3f}",
            *([] if found.attention is None else [f"{100 * float(found.attention[i]):.1f} %"]),
        ]
        for i in order
    ]
    columns = ["example", "class", "adds", "spoke", "distance of features"]
    return Table([*columns, *([] if found.attention is None else ["attention"])], rows)


def part_tables(parts: Mapping[str, Mapping[str, float]], what: str) -> list[Table]:
    """A table for each kind of part, those that mattered most."""
    tables = []
    for kind, adds in parts.items():
        order = sorted(adds, key=lambda name: -abs(adds[name]))[:_SHOWN]
        # Where an n-gram begins or ends a word, it has a space.
        shown = {name: name.replace(" ", "␣") if kind.startswith("n-gram") else name for name in order}
        rows = [[shown[name], f"{adds[name]:+.3f}", _spoke(adds[name])] for name in order]
        tables.append(Table([kind, "adds", "spoke"], rows, f"What each {kind} of the query adds to {what}."))
    return tables


def _spoke(adds: float) -> str:
    return "" if abs(adds) < 0.0005 else "for" if adds > 0 else "against"


def _classes(found: Explanation, names: Sequence[str]) -> Table:
    order = found.probabilities.argsort(descending=True).tolist()[:_CLASSES]
    apart = found.distances
    rows = [
        [
            names[slot],
            f"{100 * float(found.probabilities[slot]):.1f} %",
            *([] if apart is None else [f"{float(apart[slot]):.3f}"]),
        ]
        for slot in order
    ]
    return Table(["class", "probability", *([] if apart is None else ["distance to its prototype"])], rows)


def adaptation_section(found: Explanation | ValueExplanation) -> list[Section]:
    """What adapting changed, as a section; none for learners that change no weight."""
    if not found.changes:
        return []
    rows = [
        [name, f"{100 * change:.2f} %", _percent(found.layers.get(name.rpartition(".")[0]))]
        for name, change in found.changes.items()
    ]
    text = "How far each weight moved while the learner adapted, relative to its size."
    if found.reuse is not None:
        text += (
            f" The features before and after are alike to {100 * found.reuse:.0f} % (linear CKA on the support set): "
            + ("what was learned before is used again." if found.reuse > 0.8 else "much of them was learned anew.")
        )
    return [Section("What adapting changed", text, [Table(["weight", "moved", "what its layer gives, alike"], rows)])]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def draw_explanation(found: Explanation, support: Examples, image: Tensor, names: Sequence[str]) -> bytes:
    """One query, its pixels, and the support examples that mattered most, as a PNG."""
    from matplotlib.figure import Figure

    order = found.influence.abs().argsort(descending=True).tolist()[:6]
    figure = Figure(figsize=(1.5 * (2 + len(order)), 2.1), layout="constrained")
    axes = figure.subplots(1, 2 + len(order))
    _image(axes[0], image)
    axes[0].set_title(f"answer:\n{plain(names[found.answer], _WIDEST)}", fontsize=8)
    if found.pixels is not None:
        _heat(axes[1], found.pixels, float(found.pixels.sum(0).abs().max()))
        axes[1].set_title("pixels", fontsize=8)
    axes[1].axis("off")
    for panel, i in zip(axes[2:], order, strict=True):
        _image(panel, support.inputs[i])
        if found.support_pixels is not None:
            _heat(panel, found.support_pixels[i], float(found.support_pixels.sum(1).abs().max()))
        adds = float(found.influence[i])
        label = plain(names[int(support.targets[i])], _WIDEST)
        panel.set_title(f"{label}\n{adds:+.2f}", fontsize=8, color=_FOR if adds > 0 else _AGAINST)
    return figure_png(figure)


def _image(axes: Any, image: Tensor) -> None:
    if image.shape[0] == 1:
        axes.imshow(1 - image[0].numpy(), cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    axes.axis("off")


def _heat(axes: Any, pixels: Tensor, limit: float) -> None:
    """Pixels that spoke for (blue) and against (red) over whatever is drawn there, where they matter."""
    heat = pixels.sum(0)
    share = (heat.abs() / (limit or 1.0)).clamp(0, 1)
    axes.imshow(heat.numpy(), cmap="RdBu", vmin=-(limit or 1.0), vmax=limit or 1.0, alpha=share.sqrt().numpy())
