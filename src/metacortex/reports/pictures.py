"""Pictures of reports."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metacortex.learners.base import Learner
    from metacortex.tasks.source import TaskSource

__all__ = ["draw_functions", "draw_reliability", "draw_tasks"]

_RIGHT, _WRONG = "#2f9e63", "#d4483b"


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


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
    axes.set_title(f"{total} answers; the darker, the more", fontsize=9)
    return _png(figure)


def draw_tasks(learner: Learner, tasks: TaskSource, numbers: Sequence[int], queries: int = 8) -> bytes:
    """Support examples of each class of some tasks, and answers to some queries, right and wrong ones.

    Args:
        learner: in evaluation mode.
        tasks: classification tasks of images ``[N, C, H, W']``.
        numbers: which tasks, a block of rows for each.
        queries: how many answers of each task.
    """
    import torch
    from matplotlib.figure import Figure

    from metacortex.engine.gradient import evaluate_tasks

    figure = Figure(figsize=(1.15 * (queries + 1), 2.9 * len(numbers)), layout="constrained")
    blocks = figure.subfigures(len(numbers), 1, squeeze=False)[:, 0]
    for block, number in zip(blocks, numbers, strict=True):
        batch = tasks.batch([number])
        probabilities = evaluate_tasks(learner, batch).prediction[0].softmax(-1)  # [N, way]
        task, names = tasks.task(number), batch.info[0]["classes"]
        shown = [int((task.support.targets == slot).nonzero()[0]) for slot in range(task.support.way)]
        wrong = (probabilities.argmax(-1) != task.query.targets).nonzero()[:, 0]
        right = (probabilities.argmax(-1) == task.query.targets).nonzero()[:, 0]
        # Mistakes are what one wants to see; the rest are answers spread over the classes.
        rest = right[torch.linspace(0, len(right) - 1, max(queries - len(wrong), 1)).long()] if len(right) else right
        chosen = torch.cat([wrong[: queries - 1], rest])[:queries].tolist()
        block.suptitle(f"task {number}: {', '.join(names)[:110]}", fontsize=8)
        grid = block.subplots(2, max(len(shown), len(chosen)), squeeze=False)
        for axes in grid.ravel():
            axes.axis("off")
        for slot, row in enumerate(shown[: grid.shape[1]]):
            _image(grid[0, slot], task.support.inputs[row], f"class {slot + 1}", "black")
        for column, row in enumerate(chosen):
            answer, truth = int(probabilities[row].argmax()), int(task.query.targets[row])
            said = f"{answer + 1} ({100 * float(probabilities[row, answer]):.0f} %)"
            _image(
                grid[1, column],
                task.query.inputs[row],
                said if answer == truth else f"{said}, is {truth + 1}",
                _RIGHT if answer == truth else _WRONG,
            )
    return _png(figure)


def _image(axes: Any, image: Any, title: str, colour: str) -> None:
    if image.shape[0] == 1:
        axes.imshow(1 - image[0].numpy(), cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    axes.set_title(title, fontsize=7, color=colour)


def draw_functions(learner: Learner, tasks: Any, numbers: Sequence[int]) -> bytes:
    """Truth, support points and the adapted function of some regression tasks.

    Args:
        learner: in evaluation mode.
        tasks: a family of functions, see `metacortex.tasks.function_source.FunctionTasks`.
        numbers: which tasks.
    """
    import torch
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(numbers), 3.0), layout="constrained")
    x = torch.linspace(-5, 5, 200)[:, None]
    panels = figure.subplots(1, len(numbers), squeeze=False)[0]
    for axes, number in zip(panels, numbers, strict=True):
        task = tasks.task(number)
        predictor = learner.bind(learner.adapt(task.support))
        axes.plot(x[:, 0], tasks.curve(number, x)[:, 0], color="#888888", label="truth")
        axes.plot(x[:, 0], predictor(x)[:, 0], color="#3b6fb6", label="after adapting")
        axes.plot(task.support.inputs[:, 0], task.support.targets[:, 0], "o", color="black", label="support")
        axes.set_title(f"task {number}", fontsize=9)
        axes.grid(alpha=0.3)
    panels[-1].legend(fontsize=7)
    return _png(figure)
