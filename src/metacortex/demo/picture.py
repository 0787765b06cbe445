"""A picture of one task: what was shown, what was asked, what each learner answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from metacortex.learners.base import Learner, State
from metacortex.task import Task
from metacortex.tasks.episodes import Episodes

__all__ = ["draw_task"]

_RIGHT, _WRONG = "#8fd3a6", "#f2b1aa"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def draw_task(
    learners: Mapping[str, Learner], tasks: Episodes, titles: Mapping[str, str], path: Path, index: int = 0
) -> Path:
    """Draw one task: its support on top, one query of each class below with every learner's answer.

    A bar shows the probability of the class that a learner chose, green where it is the right one.

    Args:
        learners: trained learners by name.
        tasks: where the task comes from.
        titles: name in the picture by learner.
        path: PNG to write.
        index: which task.

    Returns:
        The path.
    """
    task = tasks.task(index)
    way = task.support.way
    queries = [int((task.query.targets == slot).nonzero()[0]) for slot in range(way)]
    images = task.query.inputs[queries]
    answers = {n: learner.bind(_adapt(learner, task)).probabilities(images) for n, learner in learners.items()}
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(2.2 + 1.6 * way, 3.6 + 0.62 * len(answers)), layout="constrained")
        grid = figure.subplots(
            2 + len(answers), way, squeeze=False, gridspec_kw={"height_ratios": [2, 2] + [0.8] * len(answers)}
        )
        figure.suptitle(f"One task of {way} classes from scripts never seen in training, one example each")
        for slot in range(way):
            _image(grid[0, slot], task.support.inputs[slot], f"this is “{_LETTERS[slot % 26]}”")
            _image(grid[1, slot], images[slot], f"which one? ({_LETTERS[slot % 26]})")
            for row, (name, probabilities) in enumerate(answers.items(), start=2):
                _answer(grid[row, slot], probabilities[slot], slot, titles[name] if slot == 0 else "")
        figure.savefig(path, dpi=110)
    return path


def _adapt(learner: Learner, task: Task) -> State:
    learner.eval()
    with torch.no_grad():
        return learner.adapt(task.support)


def _image(axes: Axes, image: Tensor, title: str) -> None:
    axes.imshow(1 - image[0], cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _answer(axes: Axes, probabilities: Tensor, truth: int, title: str) -> None:
    chosen = int(probabilities.argmax())
    share = float(probabilities[chosen])
    axes.barh([0], [share], color=_RIGHT if chosen == truth else _WRONG, height=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, 0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.text(0.03, 0, f"{_LETTERS[chosen % 26]}  {100 * share:.0f} %", va="center", fontsize=9)
    if title:
        axes.set_ylabel(title.replace(" (", "\n("), rotation=0, ha="right", va="center")
