"""``metacortex tasks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import bar, emit, table, tell
from metacortex.errors import SettingsError

__all__ = ["add_to", "similar_command"]

_SIMILAR = examples(
    [
        "tasks similar --data omniglot Tengwar",
        "tasks similar --data omniglot my-symbols --measure otdd",
        "tasks similar runs/first my-symbols --among train",
        "tasks similar my-symbols --among letters,digits,signs --measure set",
        "tasks similar --data omniglot Tengwar --among train --measure learned --transfers omniglot.json",
    ],
    """Ranks known tasks by how alike they are to a new one, the most alike first: what was learned on them is most
    likely to serve. NEW is a folder with a sub-folder of images per class, or a group (an alphabet) of the data source.
    With RUN, tasks are seen through its network; else through the one that comes with metacortex. Measures: task2vec
    (Fisher information of the network's weights), set (a set encoder that learns to tell the known tasks apart), otdd
    (optimal transport between labelled sets; extra `similarity`), learned (from the transfer between the known tasks,
    which is measured first, seconds for each, and kept in --transfers; set learns from it, too, where this is given),
    pixels, classes. With --json: new (name, classes, examples), measure, probe (null: none), ranking (task, distance,
    classes, examples).""",
)


def similar_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="[RUN] NEW", help="Run folder (may be left out); the new task.", show_default=False),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data source whose groups are tasks.", show_default=False)
    ] = None,
    among: Annotated[
        str, typer.Option(metavar="NAMES", help="Known tasks: folders, groups or splits, with commas.")
    ] = "",
    measure: Annotated[str, typer.Option(help="task2vec, set, otdd, learned, pixels or classes.")] = "task2vec",
    transfers: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Learn from measured transfers (set, learned), kept here.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Only the first so many; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of what a measure draws or initialises.")] = 0,
    as_json: Json = False,
) -> None:
    """Which known tasks are most alike to a new one?"""
    from metacortex.similarity.similar import similar_tasks

    if len(names) > 2:
        raise SettingsError(f"expected [RUN] NEW, got {len(names)} names: {' '.join(names)}")
    run = Path(names[0]) if len(names) == 2 else None
    with bar("measuring transfer", show=not as_json) as progress:
        found = similar_tasks(
            names[-1],
            run=run,
            data=data,
            among=among,
            measure=measure,
            transfers=transfers,
            seed=seed,
            progress=progress,
        )
    ranking = found.ranking[: top or None]
    if as_json:
        content = found.to_json()
        emit("tasks similar", {**content, "ranking": content["ranking"][: len(ranking)]})
        return
    rows = [[str(i), r.name, f"{r.distance:.4g}", str(r.way), str(r.examples)] for i, r in enumerate(ranking, 1)]
    title = f"{found.new} ({found.way} classes, {found.examples} examples) by {found.measure}"
    table(title, ["", "known task", "distance", "classes", "examples"], rows)
    if found.probe is not None:
        tell(f"seen through: {found.probe}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(help="Compare tasks with each other.")

    @group.callback()
    def _tasks() -> None:
        """Compare tasks with each other."""

    group.command("similar", epilog=_SIMILAR)(similar_command)
    app.add_typer(group, name="tasks")
