"""Every recipe can be read and its run be built; findings judge as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from metacortex.data.sources import default_size
from metacortex.errors import RunError, SettingsError
from metacortex.evaluation.results import EvaluationResult
from metacortex.learners.registry import learner_entry, learner_names
from metacortex.recipes.recipe import Figure, load_recipe, recipe_names
from metacortex.recipes.reproduce import Finding, reproduce
from metacortex.runs.build import build_learner
from metacortex.settings import DataSettings

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
published = 0.001
source = "R"
goal = 100.0
"""


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.figures
    assert any(str(year) in recipe.paper for year in range(1960, 2030))
    for figure in recipe.figures:
        # A published figure says where it was read; without one there is nothing to say.
        assert bool(figure.published) == bool(figure.source)
        assert figure.published_ci95 <= figure.published
        if figure.metric == "accuracy":
            assert figure.goal <= 100
            assert figure.published <= 100
            assert not figure.published or figure.goal <= figure.published or figure.data == "omniglot_challenge"


def test_every_learner_of_images_or_functions_has_a_recipe() -> None:
    served = {load_recipe(name).settings.learner.name for name in recipe_names()}
    wanted = {name for name in learner_names() if learner_entry(name).kinds != ("translation",)}
    assert served == wanted


@pytest.mark.parametrize("name", recipe_names())
def test_the_learner_of_every_recipe_can_be_built(name: str) -> None:
    settings = load_recipe(name).settings
    images = isinstance(settings.data, DataSettings)
    side = settings.data.size or default_size(settings.data.name) if images else 0
    channels = 1 if settings.data.name == "omniglot" else 3
    learner = build_learner(
        {
            "name": settings.learner.name,
            "options": settings.learner.options,
            "backbone": settings.backbone.name,
            "backbone_options": settings.backbone.options,
            "kind": "classification" if images else "regression",
            "input_shape": [channels, side, side] if images else [1],
            "way": settings.data.way if images else 1,
            "train_classes": 7,
        }
    )
    assert learner.name == settings.learner.name


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
    with pytest.raises(RunError, match=r"learner\.name maml"):
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
    alone = finding(0.7, 0.01)
    assert (alone.reached, alone.reached_goal, alone.missed) == (None, None, False)
    assert alone.figure.reported == "no published row"
    assert finding(0.7, 0.01, published=71.5).missed
    assert not finding(0.7, 0.01, published=71.5, goal=69).missed
    assert Figure(published=98.7, published_ci95=0.4, source="P").reported == "98.7 ± 0.4 (paper)"
