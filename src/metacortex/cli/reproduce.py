"""``metacortex reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Device, Json, Quiet, examples
from metacortex.cli.output import bar, emit, table, tell
from metacortex.errors import SettingsError

__all__ = ["add_to", "reproduce_command"]

_EPILOG = examples(
    [
        "reproduce",
        "reproduce maml_sinusoid --out runs/sine",
        "reproduce protonet_omniglot --run runs/proto --json",
    ],
    """Without a name: lists the recipes. A recipe names a paper's figure and where it was read, the settings, and the
    goal that its budget is to reach. pass: the published figure lies within the two 95 % intervals, or was exceeded;
    no published row: none is known under this protocol. The same command again continues an interrupted run. Exit code
    1: a goal was missed, or, where none was set, a published figure.""",
)


def reproduce_command(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A recipe, or a TOML file.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of the run.", show_default=False)] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Measure this run instead of training.", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train as a paper did and say whether its figure was reached."""
    from metacortex.recipes.recipe import load_recipe, recipe_names
    from metacortex.recipes.reproduce import reproduce

    if recipe is None:
        recipes = [load_recipe(name) for name in recipe_names()]
        if as_json:
            emit(
                "reproduce", {"recipes": [{"name": r.name, "paper": r.paper, "protocol": r.protocol} for r in recipes]}
            )
        else:
            rows = [[r.name, r.figures[0].title, r.figures[0].reported, r.paper] for r in recipes]
            table("", ["recipe", "first figure", "published", "paper"], rows)
        return
    chosen = load_recipe(recipe)
    if out is None and run is None:
        raise SettingsError("say where the run goes (--out FOLDER), or which run to measure (--run RUN)")
    with bar("evaluating", show=not quiet) as progress:
        findings, folder = reproduce(chosen, out, run=run, device=device, progress=not quiet, evaluating=progress)
    if as_json:
        rows = [finding.to_json() for finding in findings]
        emit("reproduce", {"recipe": chosen.name, "paper": chosen.paper, "run": str(folder), "figures": rows})
    else:
        table(
            f"{chosen.name}: {chosen.paper}",
            ["figure", "measured (95 % interval)", "published", "", "goal", ""],
            [
                [
                    f.figure.title,
                    f.result.figure,
                    f.figure.reported,
                    _verdict(f.reached, "pass", "FAIL"),
                    f"{f.figure.goal:g}" if f.figure.goal else "-",
                    _verdict(f.reached_goal, "reached", "missed"),
                ]
                for f in findings
            ],
        )
        tell(f"the recipe's protocol: {chosen.protocol}")
        trained = getattr(chosen.settings.data, "shot", 0)
        others = sorted({f.figure.shot for f in findings} - {trained})
        if others and all(f.figure.metric == "accuracy" for f in findings):
            shots = ", ".join(f"{shot}-shot" for shot in others)
            tell(f"all figures are of one run, trained for {trained}-shot tasks; papers mostly train anew for {shots}")
        for finding in findings:
            tell(f"measured: {finding.result.protocol}")
    if any(finding.missed for finding in findings):
        raise typer.Exit(1)


def _verdict(reached: bool | None, yes: str, no: str) -> str:
    return "-" if reached is None else yes if reached else no


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("reproduce", epilog=_EPILOG)(reproduce_command)
