"""Every recipe can be read and its run be built; findings judge as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from metacortex.errors import RunError, SettingsError
from metacortex.evaluation.results import EvaluationResult
from metacortex.recipes.recipe import Figure, load_recipe, recipe_names
from metacortex.recipes.reproduce import Finding, reproduce

TINY = """
paper = "A paper"
protocol = "tiny"
[learner]
name = "maml"
inner_lr = 0.01
[data]
name = "sinusoid"
shot = 5
[training]
steps = 3
tasks = 2
validation_tasks = 3
[[figure]]
shot = 5
queries = 20
metric = "mse"
tasks = 20
published = 0.0
goal = 100.0
"""


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.figures
    assert any(str(year) in recipe.paper for year in range(2010, 2030))
    for figure in recipe.figures:
        assert figure.published > 0
        assert figure.goal > 0
        assert figure.metric != "accuracy" or figure.goal <= figure.published <= 100


def test_unknown_and_broken_recipes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="protonet_omniglot"):
        load_recipe("protonet_omniglott")
    path = tmp_path / "mine.toml"
    for text, message in (
        ("nonsense", "not valid TOML"),
        ("[learner]\nname = 'maml'", "at least one"),
        (TINY.replace("[training]", "[trainng]"), "did you mean 'training'"),
        (TINY.replace("goal", "gaol"), "did you mean 'goal'"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=message):
            load_recipe(str(path))


def test_a_recipe_is_followed_and_a_run_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    recipe = load_recipe(str(path))
    findings, folder = reproduce(recipe, tmp_path / "run", progress=False)
    assert [f.reached_goal for f in findings] == [True]
    assert [f.reached for f in findings] == [False]
    again, _ = reproduce(recipe, run=folder)
    assert again[0].result.scores == findings[0].result.scores
    assert "20 queries" in again[0].result.protocol
    with pytest.raises(RunError, match="learner maml"):
        reproduce(load_recipe("protonet_omniglot"), run=folder)


def finding(mean: float, half: float, *, up: bool = True, **figure: float) -> Finding:
    result = EvaluationResult((mean,), 0.0, mean, half, "", "", higher_is_better=up)
    return Finding(Figure(metric="accuracy" if up else "mse", **figure), result)  # type: ignore[arg-type]


def test_judgement() -> None:
    assert finding(0.98, 0.004, published=98.3, goal=98).reached
    assert not finding(0.98, 0.004, published=98.5, goal=98.1).reached
    assert not finding(0.98, 0.004, published=98.5, goal=98.1).reached_goal
    assert finding(0.98, 0.004, published=98.5, published_ci95=0.1, goal=98).reached
    assert finding(0.5, 0.01, up=False, published=0.6, goal=0.55).reached_goal
    assert not finding(0.7, 0.01, up=False, published=0.6, goal=0.55).reached
