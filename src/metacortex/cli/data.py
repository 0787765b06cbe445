"""``metacortex data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metacortex.cli.options import Json, Quiet, examples
from metacortex.cli.output import bar, download_bar, emit, table, tell
from metacortex.errors import DataError

__all__ = ["add_command", "add_to", "check_command", "fetch_command", "list_command", "show_command"]

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
        "data add mini_imagenet --from ~/mini-imagenet",
        "data add my-symbols --from ./symbols",
    ],
    """With --json: name, path.""",
)

_FETCH = examples(
    [
        "data fetch omniglot",
        "data fetch cifar_fs --mirror https://example.org/cifar",
    ],
    """What is here already with the right sum is not downloaded again. With --json: name, files (each with path and
    address, which is empty where the file was here before).""",
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
    from metacortex.data.downloads.addresses import downloadable

    sources, fetched = overview(), downloadable()
    if as_json:
        emit("data list", {"sources": sources})
        return
    rows = [
        [s["name"], s["kind"], "yes" if s["available"] else f"no: metacortex data {_way_to(s['name'], fetched)}"]
        for s in sources
    ]
    table("", ["name", "kind", "at hand"], [*rows, ["folder:PATH", "any folder of class folders", ""]])


def _way_to(name: str, fetched: list[str]) -> str:
    return f"fetch {name}" if name in fetched else f"add {name} --from PATH"


def show_command(name: _Name, as_json: Json = False) -> None:
    """Describe a data source: classes, images, splits, where it comes from."""
    from metacortex.data.added import describe

    with bar(f"reading {name}", show=not as_json) as progress:
        facts = describe(name, progress=progress)
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
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A published collection (see `metacortex data list`), or a new name.",
            show_default=False,
        ),
    ],
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


def fetch_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="cifar_fs, fc100, multi30k or omniglot.", show_default=False)
    ],
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", metavar="URL", help="Folder that holds the files, tried first; may be repeated."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that have a wrong sum.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Download published data into the cache: whole, with the right sum, or not at all."""
    from metacortex.data.downloads.fetch import fetch

    with download_bar(show=not (quiet or as_json)) as progress:
        files = fetch(name, mirrors=mirror or (), replace=replace, progress=progress)
    if as_json:
        emit("data fetch", {"name": name, "files": [{"path": str(f.path), "address": f.address} for f in files]})
        return
    for file in files:
        tell(f"{file.path}: {f'from {file.address}' if file.address else 'was here'}")


def check_command(name: _Name, as_json: Json = False) -> None:
    """Read everything of a data source and look for what is wrong."""
    from metacortex.data.added import check

    with bar(f"reading {name}", show=not as_json) as progress:
        report: dict[str, Any] = check(name, progress=progress)
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
    group = typer.Typer(help="List, describe, download, add and check data sources.")
    group.command("list", epilog=_LIST)(list_command)
    group.command("show", epilog=_SHOW)(show_command)
    group.command("add", epilog=_ADD)(add_command)
    group.command("fetch", epilog=_FETCH)(fetch_command)
    group.command("check", epilog=_CHECK)(check_command)
    app.add_typer(group, name="data")
