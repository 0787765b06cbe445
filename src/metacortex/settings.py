"""Everything that defines a run, in one validated object that is also a TOML file.

    [learner]            [backbone]           [data]               [training]
    name = "protonet"    name = "conv4"       name = "omniglot"    steps = 10000
    ...its own options   ...its own options   way = 5              lr = 0.002

An unknown key or a value out of range is a `SettingsError` that names the nearest valid name or the range.
Settings from a file are overridden by flags with `merge`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tomlkit

from metacortex.errors import SettingsError, unknown_name
from metacortex.fields import build, check_keys, describe_type, option, parse_text, to_toml_value

__all__ = [
    "SECTIONS",
    "DataSettings",
    "FunctionSettings",
    "NamedOptions",
    "RunSettings",
    "TaskSettings",
    "TextSettings",
    "TrainingSettings",
    "field_types",
    "from_mapping",
    "from_toml",
    "merge",
    "read_settings",
    "to_mapping",
    "to_toml",
    "with_training",
]

SECTIONS = ("learner", "backbone", "data", "training")
DEFAULT_STEPS = 5000


@dataclass(frozen=True)
class NamedOptions:
    """A choice from a registry with its own options: ``[learner]`` or ``[backbone]``.

    Attributes:
        name: the registered name.
        options: option -> value; what is left out takes the default of the named thing.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSettings:
    """Where examples come from and what a task looks like: ``[data]``.

    The ``train_*`` sizes are those of the tasks learned from; 0 leaves the choice to the learner
    (60-way for a prototypical network, say), which by default takes those of evaluation.
    """

    name: str = option("glyphs", "data source: a registered name, folder:PATH or a directory")
    protocol: str = option("", "split protocol of the source; empty for its default")
    way: int = option(5, "classes per task", min=2)
    shot: int = option(1, "support examples per class", min=1)
    queries: int = option(15, "query examples per class", min=1)
    train_way: int = option(0, "classes per training task; 0: the learner's default", min=0)
    train_shot: int = option(0, "support examples per class in training; 0: the learner's default", min=0)
    train_queries: int = option(0, "query examples per class in training; 0: the learner's default", min=0)
    size: int = option(0, "side of the images in pixels; 0: the source's own", min=0, max=1024)
    rotations: str = option("", "splits whose classes also come turned by 90, 180, 270°: names, all or none")
    warp: float = option(0.0, "how much training images are warped and moved at random; 1: as hands differ", min=0)
    redraw: float = option(0.0, "how much each training image is redrawn by another hand and pen; 1: much", min=0)
    min_examples: int = option(0, "leave out classes with fewer examples than this", min=0)
    seed: int = option(0, "seed of the tasks", min=0)


@dataclass(frozen=True)
class FunctionSettings:
    """A family of functions to learn to regress: ``[data]`` with a ``name`` like ``"sinusoid"``.

    The ``train_*`` sizes are those of the tasks learned from; 0 takes those of evaluation.
    """

    name: str = option("sinusoid", "family of functions")
    shot: int = option(10, "support points per function", min=1)
    queries: int = option(10, "query points per function", min=1)
    train_shot: int = option(0, "support points per training task; 0: those of evaluation", min=0)
    train_queries: int = option(0, "query points per training task; 0: those of evaluation", min=0)
    seed: int = option(0, "seed of the tasks", min=0)


@dataclass(frozen=True)
class TextSettings:
    """A corpus of aligned sentences to learn to translate: ``[data]`` of a learner of translation."""

    name: str = option("phrasebook", "corpus: a registered name, folder:PATH, a folder of aligned files, or a table")
    languages: str = option("", "languages used, e.g. en,fr, also by the subwords; empty: all")
    pairs: str = option("", "pairs like en-fr,fr-en, or trained, held_out, new_test; empty: all that are trained")
    held_out: str = option("", "pairs that no training task shows; empty: as the corpus proposes; none: no pair")
    sentences: int = option(0, "training lines used; 0: all", min=0)
    vocabulary: int = option(0, "subwords, of all languages together; 0: as suits the corpus", min=0)
    description: Literal["words", "pairs", "both", "any", "none"] = option("any", "what tasks are described by")
    shot: int = option(8, "support pairs of a task; in training any number up to it", min=0)
    queries: int = option(64, "sentences of a task that are translated", min=1)
    max_length: int = option(60, "longest sentence in subwords", min=1)
    topics: int = option(0, "topics that tasks keep to: kinds of phrases, or so many clusters; 0: none", min=0)
    held_out_topics: int = option(0, "topics, the last ones, that no training task shows", min=0)
    features: str = option("", "array of image features, one row per image name")
    seed: int = option(0, "seed of the tasks", min=0)


TaskSettings = DataSettings | FunctionSettings | TextSettings
"""``[data]``, by the kind of its source."""


def _task_settings(data: Any, learner: Any) -> type:
    """The dataclass of ``[data]`` for the names of a source and a learner."""
    from metacortex.learners.registry import learner_entry
    from metacortex.tasks.functions import function_names

    if isinstance(learner, str) and "translation" in learner_entry(learner).kinds:
        return TextSettings
    return FunctionSettings if data in function_names() else DataSettings


@dataclass(frozen=True)
class TrainingSettings:
    """How the meta-parameters are learned: ``[training]``.

    The budget is either ``steps`` (bit-reproducible) or ``minutes`` (the schedule follows the time spent).
    """

    steps: int = option(DEFAULT_STEPS, "budget in meta-steps; 0 with a budget in minutes", min=0)
    minutes: float = option(0.0, "budget in minutes of training, accumulated over resumes; 0: use steps", min=0)
    tasks: int = option(0, "tasks per meta-batch; 0: the learner's default", min=0)
    batch_size: int = option(64, "examples per step of learners that train on plain batches", min=1)
    lr: float = option(0.0, "learning rate of the outer loop (Adam); 0: the learner's default", min=0)
    schedule: str = option("cosine", "learning rate over the budget", choices=("cosine", "constant"))
    warmup_steps: int = option(0, "steps over which the learning rate rises to its value", min=0)
    weight_decay: float = option(0.0, "decoupled weight decay", min=0)
    clip_norm: float = option(10.0, "largest norm of the meta-gradient; 0: no clipping", min=0)
    seed: int = option(0, "seed of the initial weights, the training tasks and dropout", min=0)
    validate_every: int = option(250, "steps between validations", min=1)
    validation_tasks: int = option(100, "fixed validation tasks", min=1)
    checkpoint_every: int = option(250, "steps between checkpoints", min=1)
    log_every: int = option(50, "steps averaged in a line of the log", min=1)
    strategy: str = option("loop", "how meta-gradients are computed: loop, vmap, compile, ..., or auto: the fastest")
    device: str = option("auto", "where to compute: cpu, cuda, cuda:1, or auto: a GPU where there is one")
    precision: str = option(
        "float32", "of convolutions and matrix products; weights stay float32", choices=("float32", "bf16", "tf32")
    )
    micro_tasks: int = option(0, "tasks of a meta-batch computed at once, to save memory; 0: all", min=0)
    micro_queries: int = option(0, "queries of a task computed at once, where that is exact; 0: all", min=0)
    workers: int = option(1, "threads that share the tasks of a meta-batch; set threads to 1 with them", min=1)
    threads: int = option(0, "threads of PyTorch; 0: as it decides", min=0)

    def __post_init__(self) -> None:
        if self.steps and self.minutes:
            raise SettingsError(
                f"training.steps is {self.steps} and training.minutes is {self.minutes}: "
                "a run has one budget; set one of them to 0"
            )
        if not self.steps and not self.minutes:
            raise SettingsError("training.steps and training.minutes are both 0: a run needs a budget; set one of them")


@dataclass(frozen=True)
class RunSettings:
    """Everything that defines a run.

    Attributes:
        learner: name and options of the learner.
        backbone: name and options of the base model.
        data: source of the tasks, and their sizes.
        training: budget, optimiser, engine, validation, checkpoints.
    """

    learner: NamedOptions = field(default_factory=lambda: NamedOptions("protonet"))
    backbone: NamedOptions = field(default_factory=lambda: NamedOptions("conv4"))
    data: TaskSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)


def _options_type(section: str, name: str) -> type:
    if section == "learner":
        from metacortex.learners.registry import learner_settings

        return learner_settings(name)
    from metacortex.nn.registry import backbone_settings

    return backbone_settings(name)


def _named(section: str, values: Mapping[str, Any], default: str) -> NamedOptions:
    given = dict(values)
    name = given.pop("name", default)
    if not isinstance(name, str):
        raise SettingsError(f"{section}.name: expected a text, got {name!r}")
    checked = build(_options_type(section, name), given, section)
    return NamedOptions(name, {key: getattr(checked, key) for key in given})


_BACKBONES: dict[type, dict[str, Any]] = {
    DataSettings: {"name": "conv4"},
    FunctionSettings: {"name": "mlp", "hidden": [40, 40]},
    TextSettings: {"name": "seq2seq"},
}
_LEARNERS: dict[type, str] = {DataSettings: "protonet", FunctionSettings: "maml", TextSettings: "meta_lstm"}
"""What is taken where the settings name nothing, by the kind of tasks."""


def from_mapping(values: Mapping[str, Any]) -> RunSettings:
    """Check nested plain values, as `tomllib` reads them, and make settings of them.

    What is left out takes its default; ``[training]`` with ``minutes`` and no ``steps`` has a budget in minutes.

    Raises:
        SettingsError: naming section, key, what was expected and what came.

    Example:
        >>> from_mapping({"data": {"way": 20}}).data.way
        20
    """
    check_keys_of_sections(values)
    sections = {name: dict(values.get(name, {})) for name in SECTIONS}
    training = sections["training"]
    if training.get("minutes") and "steps" not in training:
        training["steps"] = 0
    tasks = _task_settings(sections["data"].get("name"), sections["learner"].get("name"))
    backbone = sections["backbone"] or _usual_backbone(tasks, sections["data"])
    return RunSettings(
        learner=_named("learner", sections["learner"], _LEARNERS[tasks]),
        backbone=_named("backbone", backbone, _BACKBONES[tasks]["name"]),
        data=build(tasks, sections["data"], "data"),
        training=build(TrainingSettings, training, "training"),
    )


def _usual_backbone(tasks: type, data: Mapping[str, Any]) -> dict[str, Any]:
    if tasks is TextSettings and data.get("name", "phrasebook") == "phrasebook":
        return {"name": "seq2seq", "embedding": 128, "hidden": 128}  # small enough to learn something in three minutes
    return dict(_BACKBONES[tasks])


def check_keys_of_sections(values: Mapping[str, Any]) -> None:
    """Refuse an unknown section, or a section that is not a table."""
    for name, section in values.items():
        if name not in SECTIONS:
            raise unknown_name("section of settings", name, SECTIONS)
        if not isinstance(section, Mapping):
            raise SettingsError(f"{name}: expected a section [{name}] with keys, got {section!r}")


def to_mapping(settings: RunSettings) -> dict[str, dict[str, Any]]:
    """Nested plain values, the inverse of `from_mapping`; what is ``None`` is left out."""
    sections: dict[str, dict[str, Any]] = {}
    for name in ("learner", "backbone"):
        part: NamedOptions = getattr(settings, name)
        sections[name] = {"name": part.name, **part.options}
    for name in ("data", "training"):
        sections[name] = asdict(getattr(settings, name))
    return {n: {k: to_toml_value(v) for k, v in s.items() if v is not None} for n, s in sections.items()}


def to_toml(settings: RunSettings) -> str:
    """The settings as TOML text that `from_toml` reads back to an equal object."""
    document = tomlkit.document()
    for name, values in to_mapping(settings).items():
        table = tomlkit.table()
        for key, value in values.items():
            table.add(key, value)
        document.add(name, table)
    return tomlkit.dumps(document)


def from_toml(text: str, where: str = "settings") -> RunSettings:
    """Read settings from TOML text.

    Args:
        text: the text.
        where: what it is called in messages, e.g. its path.

    Raises:
        SettingsError: for text that is not TOML, unknown keys and bad values.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not valid TOML: {error}") from error
    try:
        return from_mapping(values)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def read_settings(path: Path | str) -> RunSettings:
    """Read settings from a TOML file.

    Raises:
        SettingsError: if the file cannot be read or its content is not valid.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read settings from {path}: {reason}") from error
    return from_toml(text, str(path))


def field_types(section: str, name: str | None = None, learner: str | None = None) -> dict[str, Any]:
    """Key -> annotated type of a section, for flags.

    Args:
        section: one of `SECTIONS`.
        name: name of the learner, backbone or data source whose options are asked for.
        learner: name of the learner, on which the kind of data depends.
    """
    if section not in SECTIONS:
        raise unknown_name("section of settings", section, SECTIONS)
    plain = {"data": _task_settings(name, learner), "training": TrainingSettings}
    if section in plain:
        return get_type_hints(plain[section])
    options = {} if name is None else _hints(_options_type(section, name))
    return {"name": str, **options}


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls) if f.init}


def merge(settings: RunSettings, overrides: Mapping[str, Any]) -> RunSettings:
    """Override settings with flags.

    Args:
        settings: what is overridden.
        overrides: ``"section.key"`` -> value; a text is read as the type of the field asks, any
            other value is taken as it is; ``None`` (a flag that was not given) changes nothing.
            Another learner or backbone drops the options of the old one, data of another kind (functions
            instead of images) all that was set for the old kind. Giving ``minutes`` sets
            ``steps`` to 0 and the other way round.

    Raises:
        SettingsError: naming key, expected and given value.

    Example:
        >>> merge(RunSettings(), {"data.way": "20", "training.minutes": "3"}).training.steps
        0
    """
    values = to_mapping(settings)
    given = {key: value for key, value in overrides.items() if value is not None}
    for section in ("learner", "backbone"):
        name = given.get(f"{section}.name")
        if name is not None and name != values[section]["name"]:
            values[section] = {"name": name}
    _change_kind(values, given, settings.learner.name)
    for key, value in given.items():
        section, _, name = key.partition(".")
        types = field_types(section, values.get(section, {}).get("name"), values["learner"]["name"])
        check_keys(section, [name], types)
        values[section][name] = _from_flag(key, value, types[name])
    for one, other in (("training.minutes", "steps"), ("training.steps", "minutes")):
        if one in given and f"training.{other}" not in given:
            values["training"][other] = 0
    return from_mapping(values)


def _change_kind(values: dict[str, dict[str, Any]], given: Mapping[str, Any], learner: str) -> None:
    """Forget sizes and base model of one kind of tasks when flags change it; ``learner`` is the one before."""
    before = _task_settings(values["data"]["name"], learner)
    name = given.get("data.name", values["data"]["name"])
    after = _task_settings(name, values["learner"]["name"])
    if before is after:
        return
    values["data"] = {"name": given["data.name"]} if "data.name" in given else {}
    if "backbone.name" not in given:
        values["backbone"] = _usual_backbone(after, values["data"])


def _from_flag(key: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, str):
        return to_toml_value(value)
    try:
        return to_toml_value(parse_text(value, hint))
    except ValueError:
        raise SettingsError(f"{key}: expected {describe_type(hint)}, got '{value}'") from None


def with_training(settings: RunSettings, **changes: Any) -> RunSettings:
    """A copy with some training settings changed."""
    return replace(settings, training=replace(settings.training, **changes))
