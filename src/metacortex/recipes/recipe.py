"""Recipes: settings with the published figures that they are to give."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from metacortex.errors import SettingsError, unknown_name
from metacortex.fields import build, option
from metacortex.settings import SECTIONS, RunSettings, from_mapping

__all__ = ["SOURCES", "Figure", "Recipe", "load_recipe", "recipe_names"]

SOURCES = {"P": "paper", "R": "a repository that quotes or repeats it", "N": "notes that quote it"}
"""Where a published figure was read."""


@dataclass(frozen=True)
class Figure:
    """A figure to reach; accuracies in per cent, as papers print them. Without a published one it is reported alone.

    Attributes:
        way: classes per task; 0 for tasks without classes.
        shot: support examples per class.
        queries: query examples per class.
        metric: what is measured.
        published: the published figure; 0 where there is none under this protocol.
        published_ci95: half width of its 95 % interval; 0 where none was published.
        source: where it was read, see `SOURCES`.
        goal: what the recipe's budget is to reach; 0 where none was set.
        tasks: test tasks.
        inner_steps: inner steps at test; 0 for those of training.
        data: another data source than that of training; empty for the same.
        checkpoint: ``"last"`` weights, say; empty for the best.
    """

    way: int = option(0, "classes per task", min=0)
    shot: int = option(1, "support examples per class", min=1)
    queries: int = option(15, "query examples per class", min=1)
    metric: str = option("accuracy", "what is measured")
    published: float = option(0.0, "the published figure", min=0)
    published_ci95: float = option(0.0, "half width of its interval", min=0)
    source: str = option("", "where it was read", choices=("", *SOURCES))
    goal: float = option(0.0, "what the budget is to reach", min=0)
    tasks: int = option(600, "test tasks", min=2)
    inner_steps: int = option(0, "inner steps at test", min=0)
    data: str = option("", "another data source")
    checkpoint: str = option("", "which weights", choices=("", "best", "last"))

    @property
    def title(self) -> str:
        """What is measured, in short."""
        way = f"{self.way}-way " if self.way else ""
        return f"{way}{self.shot}-shot {self.metric}{f' on {self.data}' if self.data else ''}"

    @property
    def reported(self) -> str:
        """The published figure with its interval and source, or that there is none."""
        if not self.published:
            return "no published row"
        half = f" ± {self.published_ci95:g}" if self.published_ci95 else ""
        return f"{self.published:g}{half} ({SOURCES[self.source]})"


@dataclass(frozen=True)
class Recipe:
    """A published result and how to get it.

    Attributes:
        name: of the file, without ending.
        paper: authors, title, year, table.
        protocol: what was measured how, in words.
        settings: of the run.
        figures: what the run is to give.
    """

    name: str
    paper: str
    protocol: str
    settings: RunSettings
    figures: tuple[Figure, ...]


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Args:
        name: see `recipe_names`, or the path of a TOML file of your own.

    Raises:
        SettingsError: for an unknown name, or a file that is not a recipe.

    Example:
        >>> load_recipe("protonet_omniglot").figures[0].title
        '5-way 1-shot accuracy'
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the recipe {name}: {error}") from error
        return _parse(path.stem, text, name)
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    return _parse(name, (_folder() / f"{name}.toml").read_text(encoding="utf-8"), f"recipe {name}")


def _folder() -> Any:
    return files("metacortex.recipes")


def _parse(name: str, text: str, where: str) -> Recipe:
    try:
        content = tomllib.loads(text)
        figures = content.pop("figure", [])
        heads = {key: content.pop(key, "") for key in ("paper", "protocol")}
        if not figures or not all(heads.values()):
            raise SettingsError('a recipe has paper = "…", protocol = "…" and at least one [[figure]]')
        if set(content) - set(SECTIONS):
            raise unknown_name("section of a recipe", sorted(set(content) - set(SECTIONS))[0], [*SECTIONS, "figure"])
        settings = from_mapping(content)
        return Recipe(name, **heads, settings=settings, figures=tuple(build(Figure, f, "figure") for f in figures))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not valid TOML: {error}") from error
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error
