"""``metacortex data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, table, tell
from metacortex.errors import DataError

__all__ = ["add_command", "add_to", "check_command", "list_command", "show_command"]

_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Data source; see `metacortex data list`.", show_default=False)
]

_LIST = examples(
    [
        "data list",
    ],
    """With --json: sources, each with name, kind and available.""",
)

_SHOW = examples(
    [
        "data show omniglot",
        "data show ./letters",
    ],
    """With --json: name, protocol, classes, images, shape, splits (for each: classes, images, least and most
    images of a class), within_group, provenance, fingerprint.""",
)

_ADD = examples(
    [
        "data add omniglot --from ~/Downloads",
        "data add my-symbols --from ./symbols",
    ],
    """With --json: name, path.""",
)

_CHECK = examples(
    [
        "data check omniglot",
    ],
    """Exit code 2 if anything is wrong. With --json: name, ok, problems, notes, classes, images, fingerprint.""",
)


def list_command(as_json: Json = False) -> None:
    """List the data sources and whether they are at hand."""
    from metacortex.data.added import overview

    sources = overview()
    if as_json:
        emit("data list", {"sources": sources})
        return
    rows = [
        [s["name"], s["kind"], "yes" if s["available"] else f"no: metacortex data add {s['name']} --from PATH"]
        for s in sources
    ]
    table("", ["name", "kind", "at hand"], [*rows, ["folder:PATH", "any folder of class folders", ""]])


def show_command(name: _Name, as_json: Json = False) -> None:
    """Describe a data source: classes, images, splits, where it comes from."""
    from metacortex.data.added import describe

    facts = describe(name)
    if as_json:
        emit("data show", facts)
        return
    tell(f"{facts['name']}: {facts['protocol']}")
    tell(f"{facts['classes']} classes, {facts['images']} images of {' x '.join(map(str, facts['shape']))}")
    rows = [
        [split, *(str(counts[k]) for k in ("classes", "images", "least", "most"))]
        for split, counts in facts["splits"].items()
    ]
    table("", ["split", "classes", "images", "least of a class", "most of a class"], rows)
    for key, value in facts["provenance"].items():
        tell(f"{key}: {value}")
    tell(f"fingerprint: {facts['fingerprint']}")


def add_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="omniglot, or a new name.", show_default=False)],
    source: Annotated[Path, typer.Option("--from", metavar="PATH", help="Folder with the data.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Replace data of this name.")] = False,
    as_json: Json = False,
) -> None:
    """Copy data into the cache under a name, checking every image."""
    from metacortex.data.added import add

    path = add(name, source, replace=replace)
    if as_json:
        emit("data add", {"name": name, "path": str(path)})
    else:
        tell(f"added {name} ({path}); look at it with: metacortex data show {name}")


def check_command(name: _Name, as_json: Json = False) -> None:
    """Read everything of a data source and look for what is wrong."""
    from metacortex.data.added import check

    report: dict[str, Any] = check(name)
    if as_json:
        emit("data check", report)
    else:
        for note in report["notes"]:
            tell(f"note: {note}")
    if not report["ok"]:
        raise DataError(f"data source '{name}' has problems: {'; '.join(report['problems'])}")
    if not as_json:
        tell(f"{name}: {report['classes']} classes, {report['images']} images, all well")


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="List, describe, add and check data sources.")
    group.command("list", epilog=_LIST)(list_command)
    group.command("show", epilog=_SHOW)(show_command)
    group.command("add", epilog=_ADD)(add_command)
    group.command("check", epilog=_CHECK)(check_command)
    app.add_typer(group, name="data")
