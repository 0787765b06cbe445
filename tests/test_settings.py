from __future__ import annotations

from dataclasses import replace

import pytest

from metacortex.errors import SettingsError
from metacortex.settings import (
    DataSettings,
    NamedOptions,
    RunSettings,
    TrainingSettings,
    field_types,
    from_mapping,
    from_toml,
    merge,
    read_settings,
    to_mapping,
    to_toml,
)


def test_round_trip_through_toml():
    settings = RunSettings(
        NamedOptions("maml", {"inner_lr": 0.1, "inner_steps": 3, "norm": "per-step"}),
        NamedOptions("mlp", {"hidden": (8, 4)}),
        DataSettings(name='a "quoted" name', protocol="within", way=20, rotations="train,val"),
        TrainingSettings(steps=0, minutes=1.5, schedule="constant", lr=1e-4),
    )
    assert from_toml(to_toml(settings)) == settings
    assert from_mapping(to_mapping(settings)) == settings
    assert from_toml(to_toml(RunSettings())) == RunSettings()


def test_what_is_left_out_takes_its_default():
    assert from_toml("") == RunSettings()
    assert from_toml("[data]\nway = 20") == RunSettings(data=DataSettings(way=20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dta]\nway = 5", r"unknown section of settings 'dta': did you mean 'data'\?"),
        ("[data]\nwya = 5", r"unknown setting in \[data\] 'wya': did you mean 'way'\?"),
        ("[data]\nway = 1", r"data.way: expected a whole number, at least 2, got 1"),
        ("[data]\nway = 2.5", r"data.way: expected a whole number, at least 2, got 2.5"),
        ("[data]\nway = '5'", r"data.way: expected a whole number, at least 2, got '5'"),
        ("[data]\nway = true", r"data.way: expected a whole number"),
        ("data = 5", r"data: expected a section \[data\] with keys, got 5"),
        ("[training]\nschedule = 'cosin'", r"unknown value for training.schedule 'cosin': did you mean 'cosine'\?"),
        ("[training]\nlr = -0.1", r"training.lr: expected a number, at least 0, got -0.1"),
        ("[training]\nlr = nan", r"training.lr: expected a number"),
        ("[training]\nsteps = 10\nminutes = 2", r"a run has one budget; set one of them to 0"),
        ("[training]\nsteps = 0", r"a run needs a budget"),
        ("[learner]\nname = 'mamml'", r"unknown learner 'mamml': did you mean 'maml'\?"),
        ("[learner]\nname = 3", r"learner.name: expected a text, got 3"),
        (
            "[learner]\nname = 'maml'\ninner_lrr = 1",
            r"unknown setting in \[learner\] 'inner_lrr': did you mean 'inner_lr'",
        ),
        (
            "[learner]\nname = 'maml'\nnorm = 'suport'",
            r"unknown value for learner.norm 'suport': did you mean 'support'",
        ),
        ("[learner]\nname = 'maml'\ninner_steps = 'two'", r"learner.inner_steps: expected a whole number, got 'two'"),
        (
            "[learner]\nname = 'nearest_neighbour'\nlr = 1",
            r"unknown setting 'learner.lr': \[learner\] takes no options",
        ),
        ("[backbone]\nname = 'conv5'", r"unknown backbone 'conv5': did you mean 'conv4'\?"),
        ("[backbone]\nname = 'conv4'\nchannels = 0", r"channels and blocks must be at least 1"),
        ("[backbone]\nname = 'mlp'\nhidden = [8, 'x']", r"backbone.hidden: expected a list"),
        ("way = = 3", r"is not valid TOML"),
    ],
)
def test_errors_name_key_expectation_and_value(text: str, message: str):
    with pytest.raises(SettingsError, match=message) as caught:
        from_toml(text, "run.toml")
    assert str(caught.value).startswith("run.toml")


def test_whole_floats_are_whole_numbers_and_ints_are_numbers():
    settings = from_toml("[training]\nsteps = 1e3\nlr = 1")
    assert (settings.training.steps, settings.training.lr) == (1000, 1.0)
    assert isinstance(settings.training.steps, int)
    assert isinstance(settings.training.lr, float)


def test_minutes_alone_are_the_budget():
    training = from_toml("[training]\nminutes = 2").training
    assert (training.steps, training.minutes) == (0, 2.0)


def test_flags_override_and_are_read_as_the_field_asks():
    base = RunSettings()
    changed = merge(base, {"data.way": "20", "training.lr": "1e-2", "data.rotations": "none", "data.shot": None})
    assert changed == replace(
        base,
        data=replace(base.data, way=20, rotations="none"),
        training=replace(base.training, lr=0.01),
    )
    assert merge(base, {"training.steps": 7}).training.steps == 7
    assert merge(base, {"backbone.name": "mlp", "backbone.hidden": "8,4"}).backbone.options == {"hidden": (8, 4)}
    assert merge(base, {"backbone.name": "mlp", "backbone.hidden": "[8, 4]"}).backbone.options == {"hidden": (8, 4)}
    assert merge(base, {}) == base


def test_the_newer_budget_replaces_the_older():
    timed = merge(RunSettings(), {"training.minutes": "3"})
    assert (timed.training.steps, timed.training.minutes) == (0, 3.0)
    stepped = merge(timed, {"training.steps": "9"})
    assert (stepped.training.steps, stepped.training.minutes) == (9, 0.0)
    with pytest.raises(SettingsError, match="a run needs a budget"):
        merge(RunSettings(), {"training.minutes": "0"})
    with pytest.raises(SettingsError, match="one budget"):
        merge(RunSettings(), {"training.minutes": "3", "training.steps": "9"})


def test_another_learner_drops_the_options_of_the_old_one():
    maml = merge(RunSettings(), {"learner.name": "maml", "learner.inner_lr": "0.1"})
    assert maml.learner == NamedOptions("maml", {"inner_lr": 0.1})
    assert merge(maml, {"learner.inner_steps": "2"}).learner.options == {"inner_lr": 0.1, "inner_steps": 2}
    assert merge(maml, {"learner.name": "protonet"}).learner == NamedOptions("protonet", {})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.way", "many", r"data.way: expected a whole number, got 'many'"),
        ("data.way", "1", r"at least 2, got 1"),
        ("data.wy", "5", r"did you mean 'way'"),
        ("date.way", "5", r"did you mean 'data'"),
        ("learner.inner_lr", "0.1", r"unknown setting in \[learner\] 'inner_lr'"),
        ("training.schedule", "linear", r"unknown value for training.schedule 'linear'"),
    ],
)
def test_bad_flags(key: str, value: str, message: str):
    with pytest.raises(SettingsError, match=message):
        merge(RunSettings(), {key: value})


def test_field_types_of_sections():
    assert field_types("data")["way"] is int
    assert field_types("learner", "maml")["inner_lr"] is float
    assert field_types("backbone")["name"] is str


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read settings from .*none.toml: No such file"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"[data]\nname = '\xe9'")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_settings(tmp_path / "latin.toml")


def test_options_of_the_base_model_follow_the_kind_of_tasks() -> None:
    changed = merge(RunSettings(), {"learner.name": "multilingual", "backbone.hidden": "64"})
    assert (changed.backbone.name, changed.backbone.options["hidden"]) == ("seq2seq", 64)
