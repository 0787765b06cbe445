"""Explanations of values as a page: the function, the query, its value, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from metacortex.explain.page import adaptation_section, part_tables
from metacortex.explain.values import LEVEL, Curve, ValueExplanation
from metacortex.reports.figures import figure_png
from metacortex.reports.page import Page, Picture, Section, Table
from metacortex.task import Examples

__all__ = ["draw_curve", "values_page"]

_SHOWN = 10


def values_page(
    title: str,
    lead: str,
    explanations: Sequence[ValueExplanation],
    support: Examples,
    inputs: Any,
    examples: Sequence[str],
    queries: Sequence[str],
    truths: Sequence[Sequence[float]] | None = None,
    curve: Curve | None = None,
) -> Page:
    """A page with the function, where it is one of one variable, and a section for each query.

    Args:
        title: heading.
        lead: a sentence below it.
        explanations: one per query.
        support: what the learner adapted on.
        inputs: the queries ``[Q, ...]``.
        examples: names of the support examples.
        queries: names of the queries.
        truths: the right values, where they are known.
        curve: the function before and after adapting.
    """
    sections = []
    if curve is not None:
        picture = Picture(draw_curve(curve, explanations, support, inputs), _CAPTION, chart=True)
        sections.append(Section("The function", pictures=[picture]))
    for q, found in enumerate(explanations):
        text = _answer(found, support, examples, None if truths is None else truths[q])
        tables = [_examples(found, support, examples), *part_tables(found.parts, "the value")]
        sections.append(Section(queries[q], text, tables, note=_NOTE))
    return Page(title, lead, [*sections, *adaptation_section(explanations[0])])


_CAPTION = (
    "The function before learning (dashed, where there is one) and after it (line; a band of one deviation where the "
    "learner predicts it), the examples (dots), and the queries with their intervals (crosses)."
)
_NOTE = (
    "Moved by: the value, minus that of the learner adapted without the example. Weight: by how much the value rises "
    "with the target of the example."
)


def _answer(found: ValueExplanation, support: Examples, examples: Sequence[str], truth: Sequence[float] | None) -> str:
    text = f"Value: {_numbers(found.value)}."
    if truth is not None:
        text += f" The true value is {', '.join(f'{t:.4g}' for t in truth)}."
    if found.prior is not None:
        text += f" Before seeing any example it would have been {_numbers(found.prior)}."
    if bool(found.error.isfinite().all()):
        text += f" When an example is left out, the error on it is {_numbers(found.error)} (root mean square)."
    if found.interval is not None:
        low, high = found.interval
        text += f" Interval for {100 * LEVEL:.0f} %: {_numbers(low)} to {_numbers(high)} (jackknife+)."
    if found.deviation is not None:
        text += f" The learner itself predicts a deviation of {_numbers(found.deviation)}."
    if found.counter_example >= 0:
        i = found.counter_example
        text += f" The nearest example of another value is {examples[i]} ({_numbers(support.targets[i])})."
    return text


def _examples(found: ValueExplanation, support: Examples, examples: Sequence[str]) -> Table:
    order = found.influence.abs().amax(1).argsort(descending=True).tolist()[:_SHOWN]
    rows = [
        [
            examples[i],
            _numbers(support.targets[i]),
            _numbers(found.influence[i], "+.3g"),
            *([] if found.weights is None else [_numbers(found.weights[i], "+.3f")]),
            f"{-float(found.similarity[i]):.3f}",
        ]
        for i in order
    ]
    weight = [] if found.weights is None else ["weight"]
    return Table(["example", "target", "moved by", *weight, "distance of features"], rows)


def _numbers(values: Tensor, form: str = ".4g") -> str:
    return ", ".join(format(value, form) for value in values.tolist())


def draw_curve(curve: Curve, explanations: Sequence[ValueExplanation], support: Examples, inputs: Tensor) -> bytes:
    """Prior, adapted function, support points and queries, a panel for each output, as a PNG."""
    from matplotlib.figure import Figure

    outputs = curve.adapted.shape[1]
    figure = Figure(figsize=(5.6 * outputs, 3.6), layout="constrained")
    x = curve.grid.numpy()
    for output, axes in enumerate(figure.subplots(1, outputs, squeeze=False)[0]):
        adapted = curve.adapted[:, output].numpy()
        if curve.prior is not None:
            axes.plot(x, curve.prior[:, output].numpy(), color="#888888", linestyle="--", label="before learning")
        if curve.deviation is not None:
            around = curve.deviation[:, output].numpy()
            axes.fill_between(x, adapted - around, adapted + around, color="#2f6fb3", alpha=0.2, linewidth=0)
        axes.plot(x, adapted, color="#2f6fb3", label="after learning")
        axes.plot(support.inputs[:, 0], support.targets[:, output], "o", color="black", label="examples")
        for asked, found in zip(inputs[:, 0].tolist(), explanations, strict=True):
            value = float(found.value[output])
            axes.plot([asked], [value], "x", color="#c0504d", markersize=8)
            if found.interval is not None:
                axes.plot([asked, asked], found.interval[:, output].tolist(), color="#c0504d", linewidth=1)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure_png(figure)
