"""Pictures of reports."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metacortex.reports.figures import figure_png
from metacortex.reports.page import Gallery, Tile

if TYPE_CHECKING:
    from torch import Tensor

    from metacortex.learners.base import Learner
    from metacortex.tasks.source import TaskSource

__all__ = ["draw_functions", "draw_reliability", "plot_function", "show_tasks"]


def draw_reliability(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """How often answers were right, by how sure the learner was; a bar's width says nothing of its number.

    Args:
        rows: ``reliability`` of `metacortex.evaluation.diagnosis.Diagnosis.to_json`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    total = sum(row["count"] for row in rows)
    for row in rows:
        shade = 0.25 + 0.75 * row["count"] / max(r["count"] for r in rows)
        axes.bar(row["from"], row["accuracy"], row["to"] - row["from"], align="edge", color="#3b6fb6", alpha=shade)
    axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the answer", ylabel="share of right answers")
    axes.set_title(f"{total} answers; the more colour, the more of them", fontsize=9)
    return figure_png(figure)


def show_tasks(learner: Learner, tasks: TaskSource, numbers: Sequence[int], queries: int = 8) -> list[Gallery]:
    """An example of each class of some tasks as the learner was shown it, and answers to some queries.

    Half of the queries are mistakes, where there are as many, and both halves are spread over the classes.

    Args:
        learner: in evaluation mode.
        tasks: classification tasks of images ``[N, C, H, W']``.
        numbers: which tasks.
        queries: how many answers of each task.

    Returns:
        Two galleries for each task.
    """
    from metacortex.engine.gradient import evaluate_tasks

    found = []
    for number in numbers:
        batch = tasks.batch([number])
        probabilities = evaluate_tasks(learner, batch).prediction[0].softmax(-1)  # [N, way]
        task, names = tasks.task(number), batch.info[0]["classes"]
        answers, targets = probabilities.argmax(-1), task.query.targets
        first = [int((task.support.targets == slot).nonzero()[0]) for slot in range(task.support.way)]
        learned = [Tile(_png_of(task.support.inputs[row]), names[slot]) for slot, row in enumerate(first)]
        asked = []
        for row in _chosen((answers == targets).tolist(), queries):
            said = f"{names[int(answers[row])]} ({100 * float(probabilities[row].max()):.0f} %)"
            right = bool(answers[row] == targets[row])
            text = said if right else f"{said}, is {names[int(targets[row])]}"
            asked.append(Tile(_png_of(task.query.inputs[row]), text, verdict="right" if right else "wrong"))
        hits = int((answers == targets).sum())
        found.append(Gallery(f"Task {number}: learned from", learned))
        found.append(Gallery(f"{hits} of {len(targets)} queries right, for instance", asked))
    return found


def _chosen(right: Sequence[bool], count: int) -> list[int]:
    """Rows to show: mistakes, at most half of them unless all are, then right answers; both evenly spread."""
    wrong, rest = ([i for i, hit in enumerate(right) if hit == which] for which in (False, True))
    mistakes = min(len(wrong), max(count // 2, count - len(rest)))
    return [*_spread(wrong, mistakes), *_spread(rest, count - mistakes)]


def _spread(rows: Sequence[int], count: int) -> list[int]:
    count = min(count, len(rows))
    return [rows[(2 * i + 1) * len(rows) // (2 * count)] for i in range(count)]


def _png_of(image: Tensor) -> bytes:
    """``[C, H, W]`` in 0–1 as PNG; one channel as dark ink on white."""
    from PIL import Image

    pixels = (255 * (1 - image if len(image) == 1 else image).clamp(0, 1)).byte().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def draw_functions(learner: Learner, tasks: Any, numbers: Sequence[int]) -> bytes:
    """Some regression tasks: the truth, support points, and the learner's function before and after adapting.

    Args:
        learner: in evaluation mode.
        tasks: a family of functions, see `metacortex.tasks.function_source.FunctionTasks`.
        numbers: which tasks.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(numbers), 3.0), layout="constrained")
    panels = figure.subplots(1, len(numbers), squeeze=False)[0]
    for axes, number in zip(panels, numbers, strict=True):
        plot_function(axes, learner, tasks, number)
    panels[-1].legend(fontsize=7)
    return figure_png(figure)


def plot_function(axes: Any, learner: Learner, tasks: Any, number: int) -> None:
    """One task into a matplotlib panel; two predicted deviations are shaded around the adapted function.

    Args:
        axes: the panel.
        learner: in evaluation mode.
        tasks: a family of functions.
        number: which task.
    """
    import torch

    from metacortex.explain.values import learned_curve

    task, grid = tasks.task(number), torch.linspace(-5, 5, 200)
    found = learned_curve(learner, task.support, grid)
    adapted = found.adapted[:, 0]
    if found.prior is not None:
        axes.plot(grid, found.prior[:, 0], color="#c0504d", linestyle="--", linewidth=1, label="before adapting")
    axes.plot(grid, tasks.curve(number, grid[:, None])[:, 0], color="#888888", label="truth")
    if found.deviation is not None:
        around = 2 * found.deviation[:, 0]
        axes.fill_between(grid, adapted - around, adapted + around, color="#3b6fb6", alpha=0.2, linewidth=0)
    axes.plot(grid, adapted, color="#3b6fb6", label="after adapting")
    axes.plot(task.support.inputs[:, 0], task.support.targets[:, 0], "o", color="black", markersize=4, label="support")
    axes.set_title(f"task {number}", fontsize=9)
    axes.grid(alpha=0.3)
