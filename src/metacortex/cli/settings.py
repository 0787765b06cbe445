"""``metacortex settings``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, tell

if TYPE_CHECKING:
    from metacortex.fields import Described

__all__ = ["add_to", "settings_command"]

_EPILOG = examples(
    [
        "settings maml > run.toml",
        "train --config run.toml --out runs/mine",
        "settings maml --data sinusoid",
    ],
    """A file for `train --config`: sections [learner], [backbone], [data] and [training] with every setting at its
    default, below what it means and which values it may have. Any of them can also be given as
    `--set SECTION.KEY=VALUE`. With --json: settings, section by section, and in each the settings (name, default,
    expected, meaning).""",
)
_WIDTH = 110


def settings_command(
    learner: Annotated[
        str, typer.Argument(metavar="[LEARNER]", help="Which learner; see `metacortex learners`.")
    ] = "protonet",
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Data source, or a family of functions.", show_default="as the learner asks"),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base model.", show_default="as the data ask")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print all settings of a run as a file to edit, with their defaults and meanings."""
    from metacortex.learners.registry import canonical_name
    from metacortex.settings import RunSettings, merge

    asked = {"learner.name": canonical_name(learner), "data.name": data, "backbone.name": backbone}
    sections = _described(merge(RunSettings(), asked))
    if as_json:
        emit("settings", {"settings": {name: [vars(one) for one in found] for name, found in sections.items()}})
        return
    tell(_written(sections))


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("settings", epilog=_EPILOG)(settings_command)


def _described(settings: Any) -> dict[str, list[Described]]:
    """Every setting by section, at the value that it has where nothing is said."""
    from dataclasses import replace

    from metacortex.fields import Described, describe_fields
    from metacortex.learners.registry import learner_settings
    from metacortex.nn.registry import backbone_settings
    from metacortex.settings import to_mapping

    learner, backbone = settings.learner.name, settings.backbone.name
    classes = {
        "learner": (learner_settings(learner), [Described("name", learner, "a text", "see `metacortex learners`")]),
        "backbone": (backbone_settings(backbone), [Described("name", backbone, "a text", "the base model")]),
        "data": (type(settings.data), []),
        "training": (type(settings.training), []),
    }
    values = to_mapping(settings)
    return {
        name: [
            *first,
            *(replace(one, default=values[name].get(one.name, one.default)) for one in describe_fields(cls)),
        ]
        for name, (cls, first) in classes.items()
    }


def _written(sections: dict[str, list[Described]]) -> str:
    import tomlkit

    document = tomlkit.document()
    for name, found in sections.items():
        table = tomlkit.table()
        for one in found:
            about = (
                f"{one.meaning} ({one.expected})" if one.meaning and one.name != "name" else one.meaning or one.expected
            )
            for line in textwrap.wrap(about, _WIDTH):
                table.add(tomlkit.comment(line))
            if one.default is not None:
                table.add(one.name, one.default)
        document.add(name, table)
    return tomlkit.dumps(document).strip()
