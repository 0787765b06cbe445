"""Follow a recipe: train, measure, and say whether the published figure was reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metacortex.errors import RunError
from metacortex.evaluation.results import EvaluationResult
from metacortex.evaluation.run import evaluate_run
from metacortex.recipes.recipe import SOURCES, Figure, Recipe
from metacortex.runs.build import with_size
from metacortex.runs.folder import RunFolder
from metacortex.settings import to_mapping, with_training
from metacortex.training.progress import Listener
from metacortex.training.run import train

__all__ = ["Finding", "reproduce"]


@dataclass(frozen=True)
class Finding:
    """A figure beside the one that was measured.

    Attributes:
        figure: what was published, and the goal.
        result: what was measured.
    """

    figure: Figure
    result: EvaluationResult

    @property
    def factor(self) -> float:
        """From the scale of the result to that of the paper: accuracies are printed in per cent."""
        return 100.0 if self.figure.metric == "accuracy" else 1.0

    @property
    def reached(self) -> bool | None:
        """Whether the published figure lies within the two 95 % intervals, or was exceeded; ``None``: there is none."""
        if not self.figure.published:
            return None
        gap = self._shortfall(self.figure.published)
        return gap <= self.factor * self.result.ci95 + self.figure.published_ci95

    @property
    def reached_goal(self) -> bool | None:
        """Whether the goal of the recipe's budget was reached by the mean; ``None``: none was set."""
        return self._shortfall(self.figure.goal) <= 0 if self.figure.goal else None

    @property
    def missed(self) -> bool:
        """Whether the goal was missed, or, where none was set, the published figure."""
        return (self.reached if self.reached_goal is None else self.reached_goal) is False

    def _shortfall(self, target: float) -> float:
        gap = target - self.factor * self.result.mean
        return gap if self.result.higher_is_better else -gap

    def to_json(self) -> dict[str, Any]:
        """As plain values; figures on the scale of the paper."""
        return {
            "figure": self.figure.title,
            "metric": self.figure.metric,
            "measured": self.factor * self.result.mean,
            "ci95": self.factor * self.result.ci95,
            "published": self.figure.published or None,
            "published_ci95": self.figure.published_ci95 or None,
            "source": SOURCES.get(self.figure.source),
            "goal": self.figure.goal or None,
            "reached_published": self.reached,
            "reached_goal": self.reached_goal,
            "protocol": self.result.protocol,
        }


def reproduce(
    recipe: Recipe,
    out: Path | str | None = None,
    *,
    run: Path | str | None = None,
    device: str = "auto",
    progress: bool | Listener = True,
    evaluating: Callable[[int, int], None] | None = None,
) -> tuple[list[Finding], Path]:
    """Train as the recipe says (or take a run), and measure its figures.

    Args:
        recipe: what to do.
        out: the run folder; a run of the same recipe in it is continued.
        run: measure this finished run instead; its learner, backbone and split must be the recipe's.
        device: where to compute, see `metacortex.engine.devices.resolve_device`.
        progress: of training, see `metacortex.training.run.train`.
        evaluating: called with (tasks done, tasks) while measuring.

    Returns:
        The findings, in the order of the recipe, and the folder of the run.

    Raises:
        RunError: if the run does not fit the recipe, or training was interrupted.
    """
    if (out is None) == (run is None):
        raise RunError("say where the run goes (--out FOLDER), or which run to measure (--run RUN)")
    if run is not None:
        folder = Path(run)
        _same(recipe, folder)
    else:
        settings = recipe.settings if device == "auto" else with_training(recipe.settings, device=device)
        result = train(settings, Path(str(out)), resume=True, progress=progress)
        if result.interrupted:
            raise KeyboardInterrupt
        folder = result.path
    return [Finding(figure, _measure(figure, folder, device, evaluating)) for figure in recipe.figures], folder


def _measure(
    figure: Figure, folder: Path, device: str, evaluating: Callable[[int, int], None] | None
) -> EvaluationResult:
    result = evaluate_run(
        folder,
        figure.data or None,
        way=figure.way or None,
        shot=figure.shot,
        queries=figure.queries,
        tasks=figure.tasks,
        inner_steps=figure.inner_steps or None,
        checkpoint=figure.checkpoint or None,
        device=device,
        progress=evaluating,
    )
    if result.metric != figure.metric:
        raise RunError(f"the recipe asks for {figure.metric}, the run in {folder} is scored by {result.metric}")
    return result


def _same(recipe: Recipe, folder: Path) -> None:
    wanted, found = to_mapping(with_size(recipe.settings)), to_mapping(RunFolder.open(folder).settings())
    alike = [("learner", key) for key in wanted["learner"]] + [("backbone", key) for key in wanted["backbone"]]
    alike += [("data", key) for key in ("name", "protocol", "rotations", "size") if key in wanted["data"]]
    for section, key in alike:
        if wanted[section][key] != found[section].get(key, wanted[section][key]):
            raise RunError(
                f"the run in {folder} has {section}.{key} {found[section][key]}, the recipe {recipe.name} "
                f"{wanted[section][key]}: train anew with --out"
            )
